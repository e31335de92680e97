"""Tensors and parameters of the KServe protocol: what comes in is taken or refused by name, what goes out has the right bytes."""

import struct
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstep.v1 import decoding_pb2, pointing_pb2, translation_pb2
from serving.calls.call import Call
from serving.errors import InvalidRequest
from serving.kserve.outputs import chosen_outputs, write_outputs
from serving.kserve.parameters import IGNORED, apply_parameters
from serving.kserve.signatures import SIGNATURES
from serving.kserve.sources import at_row, point_sets, texts
from serving.kserve.statistics import Statistics
from serving.kserve.tensors import Tensor, read_inputs
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2
from serving.request import Decoded
from serving.tasks.pointing import ConvexHull
from tests.fakes.bundles import SOURCE_LIMIT, write_bundle

TEXT = SIGNATURES["translation"].inputs
POINTS = SIGNATURES["tour"].inputs
MOST = 8


@pytest.fixture(scope="module")
def hull(tmp_path_factory) -> ConvexHull:
    return ConvexHull(write_bundle(tmp_path_factory.mktemp("models"), "convex_hull"))


def asked(*inputs, raw=()) -> kserve_pb2.ModelInferRequest:
    request = kserve_pb2.ModelInferRequest(raw_input_contents=raw)
    for name, datatype, shape in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def fault(request, expected=TEXT) -> str:
    """Return what is refused, and why."""
    with pytest.raises(InvalidRequest) as caught:
        read_inputs(request, expected, MOST)
    return str(caught.value)


def test_raw_bytes_are_unpacked_in_either_shape():
    for shape in ([3], [3, 1]):
        request = asked(("text", "BYTES", shape), raw=[packed(b"a", b"", "ü".encode())])
        assert read_inputs(request, TEXT, MOST)["text"].texts == [b"a", b"", b"\xc3\xbc"]


@pytest.mark.parametrize(
    ("shape", "raw", "message"),
    [
        ([1], b"", "text[0]: no bytes left; allowed: 1 elements, each after its size in four bytes"),
        ([1], b"\x01\x00\x00", "text[0]: no bytes left; allowed: 1 elements, each after its size in four bytes"),
        ([1], b"\xff\xff\xff\xffa", "text[0]: a size of 4294967295 bytes; allowed: up to 1, which are left"),
        ([2], packed(b"ab"), "text[1]: no bytes left; allowed: 2 elements, each after its size in four bytes"),
        ([2], packed(b"ab") + b"\x02\x00\x00\x00a", "text[1]: a size of 2 bytes; allowed: up to 1, which are left"),
        ([1], packed(b"ab", b"c"), "raw_input_contents of text: 11 bytes; allowed: 6, which its 1 elements take"),
        ([-1], b"", "inputs[0].shape: [-1]; allowed: [-1] or [-1, 1], -1 being any size from 1"),
        ([0], b"", "inputs[0].shape: [0]; allowed: [-1] or [-1, 1], -1 being any size from 1"),
        ([], b"", "inputs[0].shape: []; allowed: [-1] or [-1, 1], -1 being any size from 1"),
        ([1, 2], b"", "inputs[0].shape: [1, 2]; allowed: [-1] or [-1, 1], -1 being any size from 1"),
        ([9], packed(*[b"a"] * 9), "inputs[0].shape: 9 sources; allowed: up to 8 in one request"),
        ([2**62], b"", f"inputs[0].shape: {2**62} sources; allowed: up to 8 in one request"),
        ([1] * 100_000, b"", "inputs[0].shape: 100000 axes; allowed: [-1] or [-1, 1], -1 being any size from 1"),
    ],
)
def test_bytes_that_are_not_what_their_shape_says_are_refused(shape, raw, message):
    assert fault(asked(("text", "BYTES", shape), raw=[raw])) == message


@pytest.mark.parametrize(
    ("datatype", "dtype"), [("FP32", "<f4"), ("FP64", "<f8")], ids=["single precision", "double precision"]
)
def test_points_are_read_raw_and_from_contents(datatype, dtype):
    values = np.arange(12, dtype=dtype)
    raw = asked(("points", datatype, [2, 3, 2]), raw=[values.tobytes()])
    written = asked(("points", datatype, [2, 3, 2]))
    getattr(written.inputs[0].contents, f"{datatype.lower()}_contents").extend(values.tolist())
    for request in (raw, written):
        np.testing.assert_array_equal(read_inputs(request, POINTS, MOST)["points"].numbers, values.reshape(2, 3, 2))


def test_one_set_of_points_needs_no_axis_for_sets():
    request = asked(("points", "FP32", [9, 2]), raw=[np.zeros(18, "<f4").tobytes()])
    assert read_inputs(request, POINTS, MOST)["points"].numbers.shape == (1, 9, 2), "9 points are no 9 sources"


@pytest.mark.parametrize(
    ("inputs", "raw", "message"),
    [
        ([], [], "inputs: no points; allowed: points, point_counts"),
        ([("points", "FP16", [3, 2])], [b""], "inputs[0].datatype: 'FP16'; allowed: FP64 or FP32 for points"),
        (
            [("points", "FP32", [3, 3])],
            [b""],
            "inputs[0].shape: [3, 3]; allowed: [-1, -1, 2] or [-1, 2], -1 being any size from 1",
        ),
        (
            [("points", "FP32", [3, 2])],
            [b"1234"],
            "raw_input_contents of points: 4 bytes; allowed: 24 bytes for shape [1, 3, 2] of FP32",
        ),
        (
            [("points", "FP64", [1, 2**40, 2])],
            [b"1234"],
            f"raw_input_contents of points: 4 bytes; allowed: {2**44} bytes for shape [1, {2**40}, 2] of FP64",
        ),
        (
            [("points", "FP32", [3, 2])],
            [b"", b""],
            "raw_input_contents: 2 of them; allowed: one for each of the 1 inputs, or none",
        ),
        ([("points", "FP32", [3, 2])], [], "inputs[0].contents.fp32_contents: 0 elements; allowed: 6 for shape [3, 2]"),
        ([("text", "BYTES", [1])], [b""], "inputs[0].name: 'text'; allowed: points, point_counts, each once"),
        (
            [("points", "FP32", [1, 2]), ("points", "FP32", [1, 2])],
            [bytes(8)] * 2,
            "inputs[1].name: 'points'; allowed: points, point_counts, each once",
        ),
        ([("points", "FP32", [1, 2])] * 3, [], "inputs: 3 tensors; allowed: points, point_counts, each once"),
    ],
)
def test_points_that_are_not_what_they_say_are_refused(inputs, raw, message):
    assert fault(asked(*inputs, raw=raw), POINTS) == message


def test_contents_stand_in_one_place():
    request = asked(("points", "FP32", [1, 2]))
    request.inputs[0].contents.fp64_contents.extend([1, 2])
    assert fault(request, POINTS) == "inputs[0].contents.fp64_contents: given; allowed: fp32_contents for FP32"
    request.raw_input_contents.append(bytes(8))
    message = "inputs[0].contents: given together with raw_input_contents; allowed: one of the two"
    assert fault(request, POINTS) == message


def test_shared_memory_is_refused():
    request = asked(("text", "BYTES", [1]))
    request.inputs[0].parameters["shared_memory_region"].string_param = "here"
    message = "inputs[0].parameters: 'shared_memory_region'; allowed: none: contents come with the request"
    assert fault(request) == message


def test_a_text_that_is_not_utf_8_is_named(hull):
    with pytest.raises(InvalidRequest, match=r"text\[1\]: bytes that are not UTF-8"):
        texts({"text": Tensor([b"a", b"\xff"])}, hull)


def test_padding_of_points_is_left_away_whatever_it_holds(hull):
    points = np.full((2, 5, 2), np.nan)
    points[0, :3], points[1] = 1, 2
    first, second = point_sets({"points": Tensor(points), "point_counts": Tensor(np.array([3, 5]))}, hull)
    assert [(point.x, point.y) for point in first["points"]] == [(1, 1)] * 3
    assert len(second["points"]) == 5


@pytest.mark.parametrize(
    ("size", "counts", "message"),
    [
        (5, [5], "point_counts: 1 of them; allowed: 2, one a set of points"),
        (5, [5, 6], "point_counts[1]: 6; allowed: from 0 to 5, the points that there are"),
        (5, [-1, 5], "point_counts[0]: -1; allowed: from 0 to 5, the points that there are"),
        (5, [5, 0], f"points[1]: 0 points; allowed: from 3 to {SOURCE_LIMIT} points"),
        (21, None, f"points[0]: 21 points; allowed: from 3 to {SOURCE_LIMIT} points"),
    ],
)
def test_counts_of_points_are_checked(hull, size, counts, message):
    tensors = {"points": Tensor(np.zeros((2, size, 2)))}
    if counts is not None:
        tensors["point_counts"] = Tensor(np.array(counts))
    with pytest.raises(InvalidRequest) as caught:
        point_sets(tensors, hull)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("field", "renamed"),
    [
        ("text", "text[4]"),
        ("points[3].x", "points[4][3].x"),
        ("options.beam_size", "parameters.beam_size"),
        ("options.sampling.top_p", "parameters.top_p"),
        ("symmetries", "parameters.symmetries"),
        ("textile", "textile"),
    ],
)
def test_fields_of_typed_errors_are_named_as_the_request_has_them(field, renamed):
    with pytest.raises(InvalidRequest) as caught, at_row(4):
        raise InvalidRequest(field, "this", "that")
    assert str(caught.value) == f"{renamed}: this; allowed: that"


def parameters(**values) -> dict[str, kserve_pb2.InferParameter]:
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {name: kserve_pb2.InferParameter(**{kinds[type(value)]: value}) for name, value in values.items()}


def test_parameters_become_options():
    request = pointing_pb2.FindTourRequest()
    given = parameters(
        beam_size=4,
        length_penalty="0.5",
        coverage_penalty=1,
        top_p=0.5,
        seed="12",
        alternatives="true",
        length_normalization="plain",
        on_deadline="ON_DEADLINE_RETURN_BEST",
        target_prefix="ein",
        repair="fix",
        symmetries=3,
    )
    given["top_k"] = kserve_pb2.InferParameter(uint64_param=7)
    apply_parameters(given, request)
    assert request == pointing_pb2.FindTourRequest(
        options=decoding_pb2.DecodingOptions(
            beam_size=4,
            length_penalty=0.5,
            coverage_penalty=1,
            alternatives=True,
            length_normalization=decoding_pb2.LENGTH_NORMALIZATION_PLAIN,
            on_deadline=decoding_pb2.ON_DEADLINE_RETURN_BEST,
            target_prefix="ein",
            sampling=decoding_pb2.Sampling(top_p=0.5, seed=12, top_k=7),
        ),
        repair=pointing_pb2.REPAIR_FIX,
        symmetries=3,
    )


def test_sampling_can_be_asked_for_without_any_value_of_its_own():
    request = translation_pb2.TranslateTextRequest()
    apply_parameters(parameters(sampling=True), request)
    assert request.options.HasField("sampling")


def test_what_triton_sends_by_itself_is_ignored():
    request = translation_pb2.TranslateTextRequest()
    apply_parameters({name: kserve_pb2.InferParameter(int64_param=1) for name in IGNORED}, request)
    assert request == translation_pb2.TranslateTextRequest()


@pytest.mark.parametrize(
    ("name", "parameter", "message"),
    [
        ("beam_size", {"double_param": 4.0}, "4.0; allowed: an integer from -2147483648 to 2147483647"),
        ("beam_size", {"bool_param": True}, "True; allowed: an integer from -2147483648 to 2147483647"),
        ("beam_size", {"int64_param": 2**31}, f"{2**31}; allowed: an integer from -2147483648 to 2147483647"),
        ("seed", {"uint64_param": 2**63}, f"{2**63}; allowed: an integer from {-(2**63)} to {2**63 - 1}"),
        ("seed", {"string_param": "9" * 10_000}, f"'{'9' * 99}; allowed: an integer from {-(2**63)} to {2**63 - 1}"),
        ("top_p", {"string_param": "half"}, "'half'; allowed: a number"),
        ("top_p", {"bool_param": True}, "True; allowed: a number"),
        ("top_p", {}, "no value; allowed: a number"),
        ("alternatives", {"int64_param": 1}, "1; allowed: true or false"),
        ("on_deadline", {"string_param": "unspecified"}, "'unspecified'; allowed: FAIL or RETURN_BEST"),
        ("on_deadline", {"int64_param": 1}, "1; allowed: FAIL or RETURN_BEST"),
        ("target_prefix", {"int64_param": 1}, "1; allowed: a string"),
    ],
)
def test_a_parameter_of_another_type_is_refused(name, parameter, message):
    with pytest.raises(InvalidRequest) as caught:
        apply_parameters({name: kserve_pb2.InferParameter(**parameter)}, translation_pb2.TranslateTextRequest())
    assert str(caught.value) == f"parameters.{name}: {message}"


@pytest.mark.parametrize("name", ["beams", "symmetries", "ensemble", "ensemble_weight", "include_attention", "model"])
def test_a_parameter_that_a_translation_does_not_have_is_unknown(name):
    with pytest.raises(InvalidRequest, match=rf"^parameters\.{name}: unknown; allowed: beam_size, "):
        apply_parameters(parameters(**{name: 1}), translation_pb2.TranslateTextRequest())


def test_no_sampling_with_values_for_it_is_refused():
    with pytest.raises(InvalidRequest, match=r"^parameters\.sampling: false together"):
        apply_parameters(parameters(sampling=False, top_p=0.5), translation_pb2.TranslateTextRequest())


def answer(*hypotheses, deadline_reached=False):
    return SimpleNamespace(hypotheses=hypotheses, deadline_reached=deadline_reached)


def test_ragged_answers_are_padded():
    decoding = decoding_pb2.Decoding(score=-1.5, finish_reason=decoding_pb2.FINISH_REASON_MAX_LENGTH)
    found = [
        pointing_pb2.ConvexHullHypothesis(point_indices=indices, decoding=decoding)
        for indices in ([3, 1], [], [5, 4, 2])
    ]
    signature = SIGNATURES["convex_hull"]
    request = kserve_pb2.ModelInferRequest()
    for name in ("indices", "length", "score", "finish_reason", "hypothesis_count"):
        request.outputs.add(name=name)
    response = kserve_pb2.ModelInferResponse()
    write_outputs(response, chosen_outputs(request, signature.outputs), [answer(*found[:2]), answer(found[2])])
    assert [list(output.shape) for output in response.outputs] == [[2, 2, 3], [2, 2], [2, 2], [2, 2], [2]]
    indices, lengths, scores, reasons, counts = response.raw_output_contents
    assert np.frombuffer(indices, "<i4").tolist() == [3, 1, -1, -1, -1, -1, 5, 4, 2, -1, -1, -1]
    assert np.frombuffer(lengths, "<i4").tolist() == [2, 0, 3, 0]
    assert np.frombuffer(scores, "<f4").tolist() == [-1.5, -1.5, -1.5, -np.inf]
    assert reasons == packed(b"MAX_LENGTH", b"MAX_LENGTH", b"MAX_LENGTH", b"")
    assert np.frombuffer(counts, "<i4").tolist() == [2, 1]


def test_answers_without_any_index_still_have_a_shape():
    empty = pointing_pb2.DelaunayTriangulationHypothesis()
    response = kserve_pb2.ModelInferResponse()
    write_outputs(response, SIGNATURES["delaunay"].outputs[:1], [answer(empty)])
    assert list(response.outputs[0].shape) == [1, 1, 1, 3]
    assert np.frombuffer(response.raw_output_contents[0], "<i4").tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["text", "scores"], r"^outputs\[1\]\.name: 'scores'; allowed: some of text, score, .*, each once$"),
        (["text", "text"], r"^outputs\[1\]\.name: 'text'; "),
        (["text"] * 99, "^outputs: 99 tensors; "),
    ],
)
def test_outputs_that_there_are_not_are_refused(names, message):
    request = kserve_pb2.ModelInferRequest()
    for name in names:
        request.outputs.add(name=name)
    with pytest.raises(InvalidRequest, match=message):
        chosen_outputs(request, SIGNATURES["translation"].outputs)


def test_statistics_tell_answered_calls_from_failed_ones_and_leave_ensembles_out():
    statistics = Statistics()
    decoded = Decoded((), queue_s=0.25, encode_s=0.5, decode_s=1.0, step_count=3)
    statistics.ended(Call("/S/M", model="tour/1", began=1.0, ended=3.0, decoded=[decoded, decoded]), None)
    statistics.ended(Call("/S/M", model="tour/1", began=1.0, ended=2.0, code=grpc.StatusCode.CANCELLED), None)
    statistics.ended(Call("/S/M", model="1 tour/1 + 0.5 tour/2", began=1.0, ended=2.0), None)
    statistics.ended(Call("/S/M", began=1.0, ended=2.0), None)
    told = statistics.of("tour/1")
    parts = told.inference_stats
    assert told.inference_count == 2
    assert (parts.success.count, parts.success.ns) == (1, 2 * 10**9)
    assert (parts.fail.count, parts.fail.ns) == (1, 10**9)
    assert (parts.queue.count, parts.queue.ns) == (2, 5 * 10**8)
    assert (parts.compute_infer.count, parts.compute_infer.ns) == (2, 3 * 10**9)
    assert statistics.of("tour/2").inference_count == 0
    assert len(statistics._work) == 1, "as many as there are models, whatever is asked"


SIZES = st.one_of(st.integers(-2, 4), st.sampled_from([-(2**63), 2**31, 2**63 - 1]))
CONTENTS = st.builds(
    kserve_pb2.InferTensorContents,
    fp32_contents=st.lists(st.floats(width=32), max_size=4),
    fp64_contents=st.lists(st.floats(), max_size=4),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
)
INPUTS = st.builds(
    kserve_pb2.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["text", "image", "points", "point_counts", ""]),
    datatype=st.sampled_from(["BYTES", "FP32", "FP64", "INT32", "INT64", "BOOL", "bytes"]),
    shape=st.lists(SIZES, max_size=5) | st.sampled_from([[1], [2, 1], [1, 3, 2], [3, 2]]),
    contents=st.none() | CONTENTS,
)
RAW = st.binary(max_size=12) | st.just(packed(b"a")) | st.just(np.arange(6.0).tobytes())
REQUESTS = st.builds(
    kserve_pb2.ModelInferRequest,
    inputs=st.lists(INPUTS, max_size=3),
    raw_input_contents=st.lists(RAW, max_size=3),
)


@settings(max_examples=500)
@given(REQUESTS, st.sampled_from(["translation", "captioning", "convex_hull"]))
def test_whatever_comes_is_taken_or_refused(hull, request_, task):
    signature = SIGNATURES[task]
    try:
        payloads = signature.sources(read_inputs(request_, signature.inputs, MOST), hull)
    except InvalidRequest:
        return
    assert 1 <= len(payloads) <= MOST
