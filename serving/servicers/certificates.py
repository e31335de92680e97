"""Certificates as messages: what ModelService sends, and what is printed of them wherever they come from."""

from beamstep.v1 import model_pb2
from serving.manifest import Certificate, MetricChange, TokenAgreement


def certificate_message(certificate: Certificate) -> model_pb2.Certificate:
    """Return the message of a certificate."""
    return model_pb2.Certificate(
        execution_provider=certificate.provider,
        precision=certificate.precision,
        passed=certificate.passed,
        faults=certificate.faults,
        create_time=certificate.created,
        machine=certificate.machine,
        inputs=certificate.inputs,
        tensor_shape_count=certificate.tensor_shapes,
        tensor_error=certificate.tensor_error,
        token_agreements=map(_agreement, certificate.tokens),
        metric_change=None if certificate.metric is None else _change(certificate.metric),
        neighbours_error=certificate.neighbours_error,
        padding_error=certificate.padding_error,
        speed_ratios=[
            model_pb2.SpeedRatio(row_count=ratio.rows, source_count=ratio.sources, times_faster=ratio.times_faster)
            for ratio in certificate.speed
        ],
    )


def _agreement(tokens: TokenAgreement) -> model_pb2.TokenAgreement:
    return model_pb2.TokenAgreement(
        beam_size=tokens.beam_size,
        input_count=tokens.inputs,
        identical_alone_share=tokens.identical_alone,
        identical_in_batch_share=tokens.identical_in_batch,
        largest_margin=tokens.largest_margin,
        median_margin=tokens.median_margin,
    )


def _change(metric: MetricChange) -> model_pb2.MetricChange:
    return model_pb2.MetricChange(
        metric=metric.metric,
        input_count=metric.inputs,
        pytorch_value=metric.pytorch,
        served_value=metric.served,
    )
