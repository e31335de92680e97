"""What the command prints for people."""

import io

from rich.console import Console

from beamstep.rendering import print_hulls, print_model, print_models
from beamstep.v1.decoding_pb2 import Decoding, ModelReference, Token
from beamstep.v1.model_pb2 import (
    Certificate,
    GetModelResponse,
    ListModelsResponse,
    MetricChange,
    Model,
    QualityFigure,
    SpeedRatio,
    TokenAgreement,
)
from beamstep.v1.pointing_pb2 import ConvexHullHypothesis, FindConvexHullResponse


def test_a_narrow_terminal_never_cuts_a_models_name_short():
    model = Model(
        reference=ModelReference(name="translation-en-de", version="1"),
        description="Translates English to German, one sentence after the other, until there are no more.",
        quality=[QualityFigure(metric="bleu_lower_tokenized", value=33.3)],
    )
    output = io.StringIO()
    print_models(Console(file=output, width=72), ListModelsResponse(models=[model]))
    assert "translation-en-de/1" in output.getvalue()
    assert "…" not in output.getvalue()


def test_attention_over_points_names_them_by_index():
    decoding = Decoding(
        tokens=[Token(piece="2", attention=[0.0, 0.25, 0.75]), Token(piece="</s>", attention=[1, 0, 0])]
    )
    answer = FindConvexHullResponse(hypotheses=[ConvexHullHypothesis(point_indices=[2], decoding=decoding)])
    output = io.StringIO()
    print_hulls(Console(file=output, width=72), [(0, 0), (1, 0), (0, 1)], answer)
    assert [line.split() for line in output.getvalue().splitlines()[-2:]] == [
        ["2", "0.0000", "2", "0.75"],
        ["</s>", "0.0000", "0", "1.00"],
    ]


def test_without_attention_no_token_is_printed():
    answer = FindConvexHullResponse(hypotheses=[ConvexHullHypothesis(decoding=Decoding(tokens=[Token(piece="2")]))])
    output = io.StringIO()
    print_hulls(Console(file=output, width=72), [], answer)
    assert "log-prob" not in output.getvalue()


def test_certificates_stand_side_by_side_and_what_none_measured_is_left_out():
    agreement = TokenAgreement(beam_size=1, input_count=1000, identical_alone_share=1, identical_in_batch_share=0.998)
    fp32 = Certificate(precision="fp32", execution_provider="CPU", passed=True, tensor_error=1e-5)
    int8 = Certificate(
        precision="int8",
        execution_provider="CPU",
        faults=["greedy: too few"],
        token_agreements=[agreement],
        metric_change=MetricChange(metric="exact", input_count=1000, pytorch_value=97.8, served_value=97.7),
        speed_ratios=[SpeedRatio(row_count=160, times_faster=2.5), SpeedRatio(source_count=8, times_faster=3)],
    )
    output = io.StringIO()
    answer = GetModelResponse(model=Model(certificates=[fp32, int8]))
    print_model(Console(file=output, width=140), answer)
    lines = [line.strip() for line in output.getvalue().splitlines()]
    cells = {line.split("  ")[0]: line.split() for line in lines}
    assert cells["largest tensor error"][-3:] == ["1.0e-05", "not", "measured"]
    assert cells["greedy: identical alone / in a batch"][-5:] == ["100.0", "%", "/", "99.8", "%"]
    assert cells["greedy: margin where not, largest / median"][-2:] == ["all", "identical"]
    assert cells["metric: PyTorch / served"][-3:] == ["97.8", "/", "97.7"]
    assert cells["verdict"][-5:] == ["passed", "failed:", "greedy:", "too", "few"]
    ratios = [line for line in lines if line.startswith("times faster")]
    assert [line.split()[4:] for line in ratios] == [
        ["encoding", "8", "not", "measured", "3.00"],
        ["a", "step", "of", "160", "rows", "not", "measured", "2.50"],
    ]
    assert "padding" not in output.getvalue()
