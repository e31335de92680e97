"""Every service answers on a real socket, and bad input gets the right status, field and range while others are served."""

import asyncio
import io
import json
import math

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image

from beamstep.client import Client
from beamstep.errors import InvalidRequest, Overloaded, ServiceError, UnknownModel
from beamstep.v1 import decoding_pb2, model_pb2, pointing_pb2, translation_pb2
from beamstep.v1.decoding_pb2 import DecodingOptions
from serving.servicers.status import MODEL_FAULT_MESSAGE
from serving.tasks.tours import edge_set

SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
CENTRED = [*SQUARE, (1.0, 1.0)]
TRANSLATE = "/beamstep.v1.TranslationService/TranslateText"


@pytest.fixture(scope="module")
def client(server):
    with Client(server.address, timeout_s=20) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def photo(**options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_text_is_translated(client):
    answer = client.translate("ein hund läuft", options=DecodingOptions(beam_size=4, hypothesis_count=3))
    best = answer.hypotheses[0]
    assert best.text == "ein hund läuft"
    assert best.decoding.finish_reason == decoding_pb2.FINISH_REASON_END_OF_SEQUENCE
    assert best.decoding.tokens[-1].piece == "</s>"
    assert math.isclose(best.decoding.log_prob, len(best.decoding.tokens) * math.log(0.9), rel_tol=1e-5)
    assert (answer.model.name, answer.model.version) == ("translation", "2"), "the latest version"
    scores = [found.decoding.score for found in answer.hypotheses]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert not answer.source_pieces
    assert not best.decoding.tokens[0].attention


def test_timings_add_up(client):
    timings = client.translate("zwei kinder").timings
    parts = [timings.queue_time, timings.encode_time, timings.decode_time]
    assert all(part.ToNanoseconds() >= 0 for part in parts)
    assert timings.decode_time.ToNanoseconds() > 0
    assert sum(part.ToNanoseconds() for part in parts) <= timings.total_time.ToNanoseconds()
    assert timings.step_count >= 2


def test_attention_comes_when_asked_for_and_runs_over_the_source_pieces(client):
    answer = client.translate("ein hund", options=DecodingOptions(include_attention=True))
    assert "".join(answer.source_pieces) == "▁ein▁hund</s>"
    for position, token in enumerate(answer.hypotheses[0].decoding.tokens):
        assert len(token.attention) == len(answer.source_pieces)
        assert np.argmax(token.attention) == position


def test_an_image_is_captioned_from_bytes_and_from_a_file(client, tmp_path):
    (tmp_path / "white.png").write_bytes(photo())
    options = DecodingOptions(include_attention=True)
    answer = client.caption(photo(), options=options)
    assert [token.id for token in answer.hypotheses[0].decoding.tokens] == [5, 6, 7, 2]
    assert client.caption(tmp_path / "white.png").hypotheses[0].caption == answer.hypotheses[0].caption != ""
    assert (answer.attention_grid.row_count, answer.attention_grid.column_count) == (2, 3)
    assert len(answer.hypotheses[0].decoding.tokens[0].attention) == 6


def test_a_hull_is_found_and_checked(client):
    best = client.find_convex_hull(CENTRED).hypotheses[0]
    assert list(best.point_indices) == [0, 1, 2, 3]
    assert best.valid
    assert best.exact
    assert (best.area, best.area_coverage) == (4.0, 1.0)
    assert best.repair_outcome == pointing_pb2.REPAIR_OUTCOME_UNSPECIFIED
    assert [token.piece for token in best.decoding.tokens] == ["0", "1", "2", "3", "</s>"]


@pytest.mark.parametrize(("most", "beside"), [(len(CENTRED) - 1, True), (len(CENTRED), False)])
def test_what_takes_longer_to_check_than_to_hand_over_is_checked_beside_the_event_loop(
    client, monkeypatch, most, beside
):
    loops = []

    def compute(points, corners):
        loops.append(asyncio._get_running_loop())
        return 4.0

    monkeypatch.setattr("serving.tasks.verification.polygon_area", compute)
    monkeypatch.setattr("serving.tasks.pointing.ConvexHull.judged_here", most)
    assert client.find_convex_hull(CENTRED).hypotheses[0].valid
    assert [loop is None for loop in loops] == [beside]


def test_a_hull_cut_short_is_not_called_valid(client):
    best = client.find_convex_hull(CENTRED, options=DecodingOptions(max_length=2)).hypotheses[0]
    assert best.decoding.finish_reason == decoding_pb2.FINISH_REASON_MAX_LENGTH
    assert not best.valid
    assert not best.exact
    assert best.area == 0


def test_a_hull_cut_short_is_repaired_where_the_request_allows(client):
    options = DecodingOptions(max_length=2)
    best = client.find_convex_hull(CENTRED, options=options, repair=pointing_pb2.REPAIR_FIX).hypotheses[0]
    assert list(best.point_indices) == [0, 1, 2, 3]
    assert (best.valid, best.exact, best.area, best.area_coverage) == (True, True, 4.0, 1.0)
    assert best.repair_outcome == pointing_pb2.REPAIR_OUTCOME_REPAIRED
    assert best.changed_corner_count == 2
    assert len(best.decoding.tokens) == 2, "what the model said"
    right = client.find_convex_hull(CENTRED, repair=pointing_pb2.REPAIR_FIX).hypotheses[0]
    assert right.repair_outcome == pointing_pb2.REPAIR_OUTCOME_NOT_NEEDED
    assert right.changed_corner_count == 0


def test_triangulations_and_tours_are_repaired_too(client):
    fix = {"repair": pointing_pb2.REPAIR_FIX, "options": DecodingOptions(max_length=3)}
    triangulation = client.find_delaunay_triangulation(CENTRED, **fix).hypotheses[0]
    assert triangulation.exact
    assert triangulation.triangle_coverage == 1
    assert len(triangulation.triangles) == 4
    assert triangulation.changed_triangle_count > 0
    tour = client.find_tour(SQUARE, **fix).hypotheses[0]
    assert (tour.valid, tour.length, tour.length_over_two_opt) == (True, 8.0, 1.0)
    assert tour.repair_outcome == pointing_pb2.REPAIR_OUTCOME_REPAIRED


@pytest.mark.parametrize("symmetries", [1, 2, 8])
def test_what_several_symmetries_find_is_answered_for_the_points_as_they_are(client, symmetries):
    """The fake model takes points in their order, whichever way they lie, so hulls come mirrored from the mirrored half."""
    options = DecodingOptions(beam_size=2, hypothesis_count=2)
    hulls = client.find_convex_hull(CENTRED, options=options, symmetries=symmetries).hypotheses
    scores = [found.decoding.score for found in hulls]
    assert scores == sorted(scores, reverse=True)
    tours = client.find_tour(CENTRED, options=options, symmetries=symmetries).hypotheses
    assert [found.length for found in tours] == sorted(found.length for found in tours)
    edges = {frozenset(edge_set(list(found.point_indices))) for found in tours}
    assert len(edges) == len(tours), "each tour once"
    assert client.find_delaunay_triangulation(SQUARE, symmetries=symmetries).hypotheses


def test_a_triangulation_is_found_and_checked(client):
    best = client.find_delaunay_triangulation(SQUARE, options=DecodingOptions(max_length=6)).hypotheses[0]
    assert [(corner.a, corner.b, corner.c) for corner in best.triangles] == [(0, 1, 2), (0, 2, 3)]
    assert best.valid
    assert best.exact
    assert best.triangle_coverage == 1.0


def test_a_tour_is_found_and_measured(client):
    best = client.find_tour(SQUARE).hypotheses[0]
    assert sorted(best.point_indices) == [0, 1, 2, 3]
    assert best.valid
    assert best.length == 8.0
    assert best.length_over_two_opt == 1.0


def test_models_are_listed_by_name_latest_version_first_and_described(client):
    listed = client.list_models().models
    keys = [f"{model.reference.name}/{model.reference.version}" for model in listed]
    assert keys == ["captioning/1", "convex_hull/1", "delaunay/1", "tour/1", "translation/2", "translation/1"]
    described = client.get_model("translation", "1")
    assert described.model.task == model_pb2.TASK_TRANSLATION
    assert described.model.limits.beam_size == 8
    assert described.model.default_options.beam_size == 2
    assert not described.model.default_options.HasField("max_length"), "it depends on the source"
    assert not described.model.default_options.HasField("patience"), "this one has none"
    assert described.model.execution_provider == "CPUExecutionProvider"
    assert described.model.provenance.data_sources[0].licence == "CC0-1.0"
    (certificate,) = described.model.certificates
    assert (certificate.precision, certificate.passed, certificate.neighbours_error) == ("fp32", True, 0)
    assert not certificate.HasField("tensor_error"), "a fake has nothing to be compared with"
    assert json.loads(described.manifest_json)["version"] == "1"


def test_a_version_can_be_chosen(client):
    assert client.translate("ein hund", model="translation", model_version="1").model.version == "1"


@pytest.mark.parametrize(
    ("call", "field", "description"),
    [
        (lambda c: c.translate(""), "text", "empty; allowed: at least one character that is not white space"),
        (lambda c: c.translate("   "), "text", "3 characters of white space"),
        (lambda c: c.translate("hund " * 20_000), "text", "100,000 characters; allowed: up to 10,000 characters"),
        (lambda c: c.translate("hund " * 100), "text", "allowed: up to 19 subword pieces"),
        (
            lambda c: c.translate("hund", options=DecodingOptions(beam_size=0)),
            "options.beam_size",
            "0; allowed: from 1 to 8",
        ),
        (lambda c: c.translate("hund", options=DecodingOptions(beam_size=-1)), "options.beam_size", "-1; allowed"),
        (
            lambda c: c.translate("hund", options=DecodingOptions(beam_size=10_000)),
            "options.beam_size",
            "10000; allowed",
        ),
        (
            lambda c: c.translate("hund", options=DecodingOptions(hypothesis_count=3)),
            "options.hypothesis_count",
            "3; allowed: from 1 to beam_size, 2 here",
        ),
        (lambda c: c.caption(b""), "image", "empty; allowed: the bytes of a JPEG, PNG or WebP file"),
        (lambda c: c.caption(b"a text file"), "image", "allowed: a JPEG, PNG or WebP file"),
        (lambda c: c.caption(photo()[:60]), "image", "a damaged PNG file"),
        (lambda c: c.find_convex_hull([]), "points", "0 points; allowed: from 3 to 20 points"),
        (lambda c: c.find_convex_hull(SQUARE * 6), "points", "24 points; allowed: from 3 to 20 points"),
        (lambda c: c.find_convex_hull([*SQUARE, (0.0, math.nan)]), "points[4].y", "nan; allowed: a finite number"),
        (lambda c: c.find_tour([(math.inf, 0.0), *SQUARE]), "points[0].x", "inf; allowed: a finite number"),
        (lambda c: c.find_tour([(1.0, 1.0)] * 4), "points", "all points equal"),
        (lambda c: c.find_delaunay_triangulation([(i, i) for i in range(4)]), "points", "all points on one line"),
        (lambda c: c.get_model(""), "name", "empty; allowed: a name that ListModels gives"),
    ],
)
def test_bad_input_names_the_field_what_was_given_and_what_is_allowed(client, call, field, description):
    with pytest.raises(InvalidRequest) as caught:
        call(client)
    assert caught.value.status is grpc.StatusCode.INVALID_ARGUMENT
    [violation] = caught.value.violations
    assert violation.field == field
    assert description in violation.description
    assert str(caught.value) == f"{field}: {violation.description}"
    assert client.translate("ein hund").hypotheses[0].text == "ein hund", "others are served on"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda c: c.translate("hund", model="latin"),
            "no translation model 'latin' is loaded; loaded: translation/2, translation/1",
        ),
        (lambda c: c.translate("hund", model_version="9"), "no translation model 'translation/9' is loaded"),
        (lambda c: c.translate("hund", model="tour"), "no translation model 'tour' is loaded"),
        (lambda c: c.find_tour(SQUARE, model="convex_hull"), "no tour model 'convex_hull' is loaded; loaded: tour/1"),
        (lambda c: c.get_model("x" * 50_000), "no model 'xxx"),
    ],
)
def test_an_unknown_model_is_not_found_and_the_message_says_what_is(client, call, message):
    with pytest.raises(UnknownModel) as caught:
        call(client)
    assert caught.value.status is grpc.StatusCode.NOT_FOUND
    assert message in str(caught.value)


def test_a_message_over_the_limit_is_refused(client):
    with pytest.raises(Overloaded) as caught:
        client.caption(bytes(17 * 2**20))
    assert caught.value.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(caught.value)


@pytest.mark.parametrize(
    ("message", "field", "description"),
    [
        (b"\x0a\x03a\xffb", "text", "bytes that are not UTF-8; allowed: UTF-8 text"),
        (b"\x0a\x01a\x12\x02\xc3\x28", "model", "bytes that are not UTF-8; allowed: UTF-8 text"),
        (
            b"\x0a\x7fa",
            "request",
            "3 bytes that cannot be read; allowed: a message of type beamstep.v1.TranslateTextRequest",
        ),
        (
            b"\x22\x01\x08\x0a\x01a",
            "request",
            "6 bytes that cannot be read; allowed: a message of type beamstep.v1.TranslateTextRequest",
        ),
    ],
)
def test_a_message_that_cannot_be_read_names_the_field(channel, message, field, description):
    call = channel.unary_unary(TRANSLATE)
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == f"{field}: {description}"


def test_random_bytes_are_never_an_internal_error(channel):
    call = channel.unary_unary(TRANSLATE)
    rng = np.random.default_rng(4)
    statuses = set()
    for size in range(1, 150):
        data = rng.integers(0, 256, size, np.uint8).tobytes()
        if size % 2:
            data = b"\x0a" + bytes([size]) + data  # a string field of random bytes
        try:
            call(data, timeout=10)
        except grpc.RpcError as error:
            statuses.add(error.code())
    assert statuses == {grpc.StatusCode.INVALID_ARGUMENT}


def test_a_call_without_a_deadline_is_answered(channel):
    answer = channel.unary_unary(TRANSLATE)(b"\x0a\x08ein hund")
    assert translation_pb2.TranslateTextResponse.FromString(answer).hypotheses[0].text == "ein hund"


def test_health_answers_for_every_service(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    services = ["Translation", "Captioning", "Pointing", "Model"]
    for name in ["", *(f"beamstep.v1.{service}Service" for service in services)]:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nonsense"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_client_without_the_protos_can_translate_through_reflection(channel):
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("beamstep.v1.TranslationService")
    method = service.FindMethodByName("TranslateText")
    request = message_factory.GetMessageClass(method.input_type)(text="ein hund")
    response = message_factory.GetMessageClass(method.output_type)
    answer = channel.unary_unary(
        TRANSLATE, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
    )(request, timeout=10)
    assert answer.hypotheses[0].text == "ein hund"


def test_an_unknown_field_of_a_newer_client_is_ignored(channel):
    request = translation_pb2.TranslateTextRequest(text="ein hund").SerializeToString() + b"\xf8\x07\x01"
    answer = translation_pb2.TranslateTextResponse.FromString(channel.unary_unary(TRANSLATE)(request, timeout=10))
    assert answer.hypotheses[0].text == "ein hund"


@pytest.mark.parametrize("graph", ["step", "encode"])
def test_a_fault_of_the_model_is_internal_and_says_nothing_of_the_inside(client, opened, monkeypatch, graph):
    def fail(*arguments, **options):
        raise RuntimeError("secret path /srv/models")

    monkeypatch.setattr(opened["tour/1"], graph, fail)
    with pytest.raises(ServiceError) as caught:
        client.find_tour(SQUARE)
    assert caught.value.status is grpc.StatusCode.INTERNAL
    assert str(caught.value) == MODEL_FAULT_MESSAGE
    assert client.find_convex_hull(CENTRED).hypotheses[0].valid, "other models go on"
