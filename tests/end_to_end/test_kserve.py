"""The KServe v2 protocol on a real socket: through tritonclient, and through the stubs for what it would not send."""

import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from beamstep.v1 import translation_pb2
from beamstep.v1.decoding_pb2 import DecodingOptions
from serving.config import ServerConfig
from serving.kserve.statistics import Statistics
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2
from serving.kserve.v2.grpc_inference_pb2_grpc import GRPCInferenceServiceStub
from serving.server import Server, running_server
from serving.servicers.kserve import KserveServicer
from tests.fakes.planned import open_planned
from tests.fakes.stubs import refusal
from tests.fakes.threads import ServerThread

REPOSITORY = Path(__file__).parents[2]
NAME = "inference.GRPCInferenceService"
TEXTS = ["ein hund", "eine frau fährt", "zwei kinder"]


@pytest.fixture(scope="module")
def told(server):
    """What tests/fakes/triton_client.py got."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.fakes.triton_client", server.address],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def kserve(channel):
    return GRPCInferenceServiceStub(channel)


def asked(
    model: str, name: str, datatype: str, shape: list[int], raw: bytes, **parameters
) -> kserve_pb2.ModelInferRequest:
    request = kserve_pb2.ModelInferRequest(model_name=model, raw_input_contents=[raw])
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    for key, value in parameters.items():
        kind = {int: "int64_param", str: "string_param", bool: "bool_param", float: "double_param"}[type(value)]
        setattr(request.parameters[key], kind, value)
    return request


def texts_of(texts: list[str]) -> bytes:
    return b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)


def test_tritonclient_sees_a_server_that_is_live_and_ready(told):
    assert told["live"]
    assert told["ready"]
    assert told["models_ready"] == {"translation": True, "tour": True, "none": False}
    assert told["versions_ready"] == {"1": True, "2": True, "3": False}
    assert told["server"]["name"] == "beamstep"
    assert told["server"]["version"]


def test_tritonclient_sees_the_models_and_their_tensors(told):
    states = {(model["name"], model["version"], model["state"]) for model in told["index"]}
    assert len(states) == 6
    assert {("translation", "1", "READY"), ("translation", "2", "READY"), ("tour", "1", "READY")} < states
    metadata = told["metadata"]["translation"]
    assert metadata["versions"] == ["2", "1"]
    assert metadata["platform"] == "beamstep_onnx"
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert {"name": "score", "datatype": "FP32", "shape": ["-1", "-1"]} in metadata["outputs"]
    triangles = {"name": "triangles", "datatype": "INT32", "shape": ["-1", "-1", "-1", "3"]}
    assert triangles in told["metadata"]["delaunay"]["outputs"]


def test_tritonclient_sees_a_configuration(told):
    config = told["config"]
    assert (config["name"], config["platform"], config.get("max_batch_size", 0)) == ("tour", "beamstep_onnx", 0)
    assert config["input"] == [
        {"name": "points", "data_type": "TYPE_FP64", "dims": ["-1", "-1", "2"]},
        {"name": "point_counts", "data_type": "TYPE_INT32", "dims": ["-1"], "optional": True},
    ]
    types = {output["name"]: output["data_type"] for output in config["output"]}
    assert types["finish_reason"] == "TYPE_STRING"
    assert types["valid"] == "TYPE_BOOL"


def test_answers_are_of_the_tensors_that_metadata_states(told):
    answered = {
        "translation": "texts",
        "captioning": "captions",
        "convex_hull": "hulls",
        "delaunay": "triangles",
        "tour": "tours",
    }
    for model, answer in answered.items():
        for output in told["metadata"][model]["outputs"]:
            array = np.array(told[answer][output["name"]])
            assert array.ndim == len(output["shape"]), output["name"]
            fits = [wanted in {"-1", str(size)} for wanted, size in zip(output["shape"], array.shape, strict=True)]
            assert all(fits), output["name"]
        assert told[answer].keys() - {"model", "id"} == {
            output["name"] for output in told["metadata"][model]["outputs"]
        }


def test_several_texts_are_translated_together(told):
    answer = told["texts"]
    assert answer["model"] == "translation/2"
    assert answer["id"] == "7"
    assert [found[0] for found in answer["text"]] == TEXTS
    assert answer["hypothesis_count"] == [3, 3, 3]
    for scores, log_probs, counts in zip(answer["score"], answer["log_prob"], answer["token_count"], strict=True):
        assert scores == sorted(scores, reverse=True)
        assert math.isclose(log_probs[0], counts[0] * math.log(0.9), rel_tol=1e-5)
    assert {reason for row in answer["finish_reason"] for reason in row} == {"END_OF_SEQUENCE"}


def test_an_answer_is_what_the_typed_service_says(told, stubs):
    for place, text in enumerate(TEXTS):
        options = DecodingOptions(beam_size=4, hypothesis_count=3)
        typed = stubs.translation.TranslateText(
            translation_pb2.TranslateTextRequest(text=text, options=options), timeout=30
        )
        assert told["texts"]["text"][place] == [found.text for found in typed.hypotheses]
        np.testing.assert_allclose(
            told["texts"]["score"][place], [found.decoding.score for found in typed.hypotheses], rtol=1e-6
        )


def test_only_what_was_asked_for_comes_back_from_the_version_that_was_asked(told):
    answer = told["column"]
    assert answer.keys() == {"text", "score", "model", "id"}
    assert answer["model"] == "translation/1"
    assert answer["text"] == [[text] for text in TEXTS[:2]]


def test_the_same_seed_draws_the_same_answer(told):
    first, second = told["drawn"]
    assert first["text"] == second["text"]
    assert first["text"] != [[TEXTS[0]]], "so hot that the plan is left"


def test_what_tritons_schedulers_are_told_changes_nothing(told):
    assert told["triton"]["text"] == [[TEXTS[0]]]


def test_images_are_captioned_together(told):
    white, black = told["captions"]["text"]
    assert white != black
    assert all(row[0] for row in (white, black))
    assert told["captions"]["token_count"] == [[4], [4]]


def test_hulls_of_sets_of_unlike_size_are_found_and_checked(told):
    answer = told["hulls"]
    assert answer["indices"] == [[[0, 1, 2, 3]], [[0, 1, 2, -1]]]
    assert answer["length"] == [[4], [3]]
    assert answer["exact"] == answer["valid"] == [[True], [True]]
    assert answer["area"] == [[4.0], [6.0]]
    assert told["hull"]["indices"] == [[[0, 1, 2, 3]]], "one set without an axis for sets"
    assert told["hull"]["exact"] == [[True]]


def test_a_hull_cut_short_is_repaired_where_the_request_allows(told):
    answer = told["repaired"]
    assert answer["repaired"] == [[True]]
    assert answer["indices"] == [[[0, 1, 2, 3]]]
    assert answer["finish_reason"] == [["MAX_LENGTH"]]


def test_triangles_and_tours_are_found(told):
    assert sorted(map(tuple, told["triangles"]["triangles"][0][0])) == [(0, 1, 2), (0, 2, 3)]
    assert told["triangles"]["exact"] == [[True]]
    assert told["tours"]["hypothesis_count"] == [2, 2]
    assert sorted(told["tours"]["indices"][0][0]) == [0, 1, 2, 3]
    assert told["tours"]["tour_length"][0][0] == 8.0


def test_statistics_count_what_a_model_answered(told):
    (statistics,) = told["statistics"]["model_stats"]
    assert (statistics["name"], statistics["version"]) == ("translation", "1")
    assert statistics["inference_count"] == "2", "two texts in one call"
    assert statistics["inference_stats"]["success"]["count"] == "1"
    assert int(statistics["inference_stats"]["compute_infer"]["ns"]) > 0
    assert int(statistics["last_inference"]) > 1_700_000_000_000


def test_refusals_name_what_is_wrong(told):
    refusals = told["refusals"]
    assert {name: status for name, (status, _) in refusals.items()} == {
        "output": "StatusCode.INVALID_ARGUMENT",
        "model": "StatusCode.NOT_FOUND",
        "beam": "StatusCode.INVALID_ARGUMENT",
        "parameter": "StatusCode.INVALID_ARGUMENT",
        "class": "StatusCode.INVALID_ARGUMENT",
        "loading": "StatusCode.UNIMPLEMENTED",
    }
    assert refusals["output"][1].startswith("outputs[0].name: 'scores'; allowed: some of text, score,")
    assert refusals["beam"][1] == "parameters.beam_size: 99; allowed: from 1 to 8"
    assert refusals["parameter"][1].startswith("parameters.beams: unknown; allowed: beam_size, hypothesis_count,")


def test_one_bad_source_fails_its_request_and_is_named(kserve):
    sets = np.zeros((3, 4, 2))
    sets[:] = [(0, 0), (1, 0), (1, 1), (0, 1)]
    sets[1, 3, 0] = np.nan
    refused = refusal(kserve.ModelInfer, asked("tour", "points", "FP64", [3, 4, 2], sets.tobytes()))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == ["points[1][3].x"]
    refused = refusal(kserve.ModelInfer, asked("convex_hull", "points", "FP64", [3, 4, 2], np.zeros(24).tobytes()))
    assert refused.fields == ["points[0]"]
    refused = refusal(kserve.ModelInfer, asked("translation", "text", "BYTES", [2], texts_of(["ein hund", ""])))
    assert refused.fields == ["text[1]"]
    refused = refusal(kserve.ModelInfer, asked("captioning", "image", "BYTES", [1], texts_of(["no image"])))
    assert refused.fields == ["image[0]"]


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("symmetries", 9, "parameters.symmetries"),
        ("repair", "mend", "parameters.repair"),
        ("top_p", 2.0, "parameters.top_p"),
        ("length_penalty", "nan", "parameters.length_penalty"),
        ("max_length", 0, "parameters.max_length"),
    ],
)
def test_a_parameter_out_of_range_is_named(kserve, name, value, field):
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1.0)])
    request = asked("delaunay", "points", "FP64", [4, 2], square.tobytes(), **{name: value})
    refused = refusal(kserve.ModelInfer, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


def test_the_most_sources_are_answered_and_one_more_is_refused(kserve):
    answer = kserve.ModelInfer(asked("translation", "text", "BYTES", [64], texts_of(["ein hund"] * 64)), timeout=120)
    assert list(answer.outputs[0].shape) == [64, 1]
    refused = refusal(kserve.ModelInfer, asked("translation", "text", "BYTES", [65], texts_of(["ein hund"] * 65)))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["inputs[0].shape"])
    assert "65 sources; allowed: up to 64" in refused.message


def test_sources_are_limited_by_what_the_queue_holds_in_all_their_symmetries(kserve):
    sets = np.tile(np.array([(0, 0), (1, 0), (1, 1), (0, 1.0)]), (33, 1, 1))
    request = asked("tour", "points", "FP64", [33, 4, 2], sets.tobytes(), symmetries=8)
    assert "33 sources; allowed: up to 32" in refusal(kserve.ModelInfer, request).message


def test_contents_in_fields_are_taken_as_raw_ones_are(kserve):
    request = kserve_pb2.ModelInferRequest(model_name="tour", id="x")
    points = request.inputs.add(name="points", datatype="FP32", shape=[1, 4, 2])
    points.contents.fp32_contents.extend([0, 0, 1, 0, 1, 1, 0, 1])
    counts = request.inputs.add(name="point_counts", datatype="INT64", shape=[1, 1])
    counts.contents.int64_contents.append(4)
    request.outputs.add(name="length")
    answer = kserve.ModelInfer(request, timeout=30)
    assert answer.id == "x"
    assert answer.raw_output_contents == [np.array([4], "<i4").tobytes()]


def test_a_message_that_cannot_be_read_says_what_it_should_be(channel):
    call = channel.unary_unary(f"/{NAME}/ModelInfer", response_deserializer=kserve_pb2.ModelInferResponse.FromString)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\x0a\x02\xff\xfe", timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "model_name" in caught.value.details()


def test_mutated_requests_are_answered_or_refused_and_never_internal(channel):
    random = Random(6)
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1.0)])
    whole = [
        asked("translation", "text", "BYTES", [2], texts_of(["ein hund", "zwei"]), beam_size=2, top_p=0.5),
        asked("convex_hull", "points", "FP64", [1, 4, 2], square.tobytes(), repair="fix", symmetries=2),
        asked("delaunay", "points", "FP32", [4, 2], square.astype("<f4").tobytes(), length_penalty=1.0),
        asked("captioning", "image", "BYTES", [1], texts_of(["GIF89a"]), max_length=3),
    ]
    call = channel.unary_unary(f"/{NAME}/ModelInfer", response_deserializer=kserve_pb2.ModelInferResponse.FromString)
    codes = Counter()
    for number in range(400):
        message = bytearray(whole[number % len(whole)].SerializeToString())
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(message))
            match random.randrange(3):
                case 0:
                    message[at] = random.randrange(256)
                case 1:
                    message[at] ^= 1 << random.randrange(8)
                case _:
                    del message[at : at + random.randint(1, 3)]
        try:
            call(bytes(message), timeout=60)
            codes[grpc.StatusCode.OK] += 1
        except grpc.RpcError as error:
            codes[error.code()] += 1
    assert codes.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert len(codes) == 3


async def test_health_and_readiness_follow_the_models(models):
    config = ServerConfig(models, host="127.0.0.1", port=0, services=("pointing",))
    server = Server(config, open_planned)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub, health = GRPCInferenceServiceStub(channel), health_pb2_grpc.HealthStub(channel)
            check = health_pb2.HealthCheckRequest(service=NAME)
            everything, what_is_ready = (
                kserve_pb2.RepositoryIndexRequest(),
                kserve_pb2.RepositoryIndexRequest(ready=True),
            )
            square = np.array([(0, 0), (1, 0), (1, 1), (0, 1.0)])
            tour = asked("tour", "points", "FP64", [4, 2], square.tobytes())

            async def ready() -> set[bool]:
                server_ready = await stub.ServerReady(kserve_pb2.ServerReadyRequest())
                model_ready = await stub.ModelReady(kserve_pb2.ModelReadyRequest(name="tour"))
                return {server_ready.ready, model_ready.ready}

            assert (await stub.ServerLive(kserve_pb2.ServerLiveRequest())).live
            assert await ready() == {False}
            assert {model.state for model in (await stub.RepositoryIndex(everything)).models} == {"UNAVAILABLE"}
            assert not (await stub.RepositoryIndex(what_is_ready)).models
            assert (await health.Check(check)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(tour)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

            await server.load()
            assert await ready() == {True}
            assert {model.name for model in (await stub.RepositoryIndex(what_is_ready)).models} == {
                "convex_hull",
                "delaunay",
                "tour",
            }
            assert (await health.Check(check)).status == health_pb2.HealthCheckResponse.SERVING
            assert (await stub.ModelInfer(tour)).model_name == "tour"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(asked("translation", "text", "BYTES", [1], texts_of(["ein hund"])))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND, "its service is not offered"
    finally:
        await server.stop(0)


async def test_a_server_that_is_told_to_stop_is_ready_no_more(models):
    config = ServerConfig(models, host="127.0.0.1", port=0, services=("translation",))
    async with running_server(config, open_planned) as server:
        servicer = KserveServicer(server._backend, {}, Statistics(), 1)
        assert (await servicer.ServerReady(kserve_pb2.ServerReadyRequest(), None)).ready
        await server.stop(0)
        assert not (await servicer.ServerReady(kserve_pb2.ServerReadyRequest(), None)).ready
        assert not (await servicer.ModelReady(kserve_pb2.ModelReadyRequest(name="translation"), None)).ready
        assert (await servicer.ServerLive(kserve_pb2.ServerLiveRequest(), None)).live


async def test_a_cancelled_request_frees_the_rows_of_all_its_sources(models):
    opened = {}

    def open_model(bundle, session):
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    config = ServerConfig(models, host="127.0.0.1", port=0, services=("translation",))
    async with (
        running_server(config, open_model) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        opened["translation/2"].turn.clear()
        request = asked("translation", "text", "BYTES", [3], texts_of(TEXTS), beam_size=4)
        call = asyncio.ensure_future(GRPCInferenceServiceStub(channel).ModelInfer(request))
        async with asyncio.timeout(60):
            while server.engine.load("translation/2").running_rows == 0:
                await asyncio.sleep(0.01)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.1)  # for the cancellation to cross the wire
        opened["translation/2"].turn.set()
        async with asyncio.timeout(60):
            while server.engine.counters.cancelled < 3:
                await asyncio.sleep(0.01)
        assert server.engine.counters.finished == 0


def test_a_client_without_the_protos_can_ask_through_reflection(channel):
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName(NAME).FindMethodByName("ModelInfer")
    request_of, response_of = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    request = json_format.ParseDict(
        {
            "modelName": "translation",
            "inputs": [
                {
                    "name": "text",
                    "datatype": "BYTES",
                    "shape": ["1"],
                    "contents": {"bytesContents": ["ZWluIGh1bmQ="]},
                }
            ],
            "outputs": [{"name": "text"}],
        },
        request_of(),
    )
    call = channel.unary_unary(f"/{NAME}/ModelInfer", request_of.SerializeToString, response_of.FromString)
    assert call(request, timeout=30).raw_output_contents == [texts_of(["ein hund"])]


def test_the_example_runs_on_the_shipped_bundles(shipped_server):
    command = [sys.executable, "examples/kserve/ask.py", shipped_server.address]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Zwei Hunde" in done.stdout
    assert "hull: 5 points, corners [0, 1, 2, 3], exact" in done.stdout


def test_a_server_can_do_without(models):
    config = ServerConfig(models, host="127.0.0.1", port=0, kserve=False)
    with ServerThread(config, open_planned) as server, grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        refused = refusal(stub.ServerLive, kserve_pb2.ServerLiveRequest())
        assert refused.code is grpc.StatusCode.UNIMPLEMENTED
