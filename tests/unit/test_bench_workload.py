"""Workload files: what may stand in one, what is said of what may not, and those that are made."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from beamstep.bench import kserve, making
from beamstep.bench.errors import BadInput
from beamstep.bench.making import Skew
from beamstep.bench.prepared import Prepared, prepare, read_answer, read_server_timing
from beamstep.bench.workload import Item, picks, read_workload
from beamstep.v1.captioning_pb2 import CaptionImageRequest
from beamstep.v1.decoding_pb2 import LENGTH_NORMALIZATION_PLAIN, PRIORITY_HIGH, DecodingOptions, Sampling
from beamstep.v1.pointing_pb2 import FindTourRequest
from beamstep.v1.translation_pb2 import StreamTranslateTextRequest, StreamTranslateTextResponse, TranslateTextRequest
from serving.kserve.v2.grpc_inference_pb2 import ModelInferRequest, ModelMetadataResponse

TEXT = Item("translation", "zwölf Hunde", DecodingOptions(beam_size=3), model="latin/2")
POINTS = Item("tour", ((0.0, 1.0), (2.0, 3.5), (4.0, 5.0)), DecodingOptions())


def test_a_workload_holds_texts_images_and_points(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"photo")
    lines = [
        {"text": "two dogs", "options": {"beam_size": 4, "sampling": {"seed": 7}}, "weight": 2.5, "model": "latin"},
        {"image": "photos/a.jpg"},
        {"points": [[0, 1], [2.5, 3]], "task": "delaunay"},
    ]
    file = tmp_path / "requests.jsonl"
    file.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    workload = read_workload(file)
    assert workload.items == (
        Item("translation", "two dogs", DecodingOptions(beam_size=4, sampling=Sampling(seed=7)), 2.5, "latin"),
        Item("captioning", b"photo", DecodingOptions()),
        Item("delaunay", ((0.0, 1.0), (2.5, 3.0)), DecodingOptions()),
    )
    before = workload.sha256
    (tmp_path / "photos" / "a.jpg").write_bytes(b"another photo")
    assert read_workload(file).sha256 != before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "line 2: 'no json'; allowed: a JSON object"),
        ("[1]", "line 2: '[1]'; allowed: a JSON object"),
        ('{"txt": "a"}', "line 2: txt: is no field; allowed: text, image, points, task, options, weight, model"),
        ('{"weight": 1}', "line 2: no source; allowed: exactly one of text, image, points"),
        ('{"text": "a", "image": "b"}', "line 2: text and image; allowed: exactly one of"),
        ('{"text": 3}', "line 2: text: 3; allowed: a string"),
        ('{"text": "a", "task": "tour"}', "line 2: task: 'tour'; allowed: only beside points"),
        ('{"image": "no.jpg"}', "line 2: image: no.jpg: No such file or directory; allowed: the path of an image file"),
        ('{"points": [[1, 2]]}', "line 2: task: None; allowed beside points: convex_hull, delaunay, tour"),
        ('{"points": [[1, 2], [3]], "task": "tour"}', "line 2: points[1]: [3]; allowed: two finite numbers"),
        ('{"points": [[1, NaN]], "task": "tour"}', "line 2: points[0]: [1, nan]; allowed: two finite numbers"),
        ('{"text": "a", "weight": 0}', "line 2: weight: 0; allowed: a finite number above 0"),
        ('{"text": "a", "weight": true}', "line 2: weight: True; allowed: a finite number above 0"),
        ('{"text": "a", "model": 1}', "line 2: model: 1; allowed: NAME or NAME/VERSION"),
        ('{"text": "a", "options": 5}', "line 2: options: 5; allowed: an object"),
        ('{"text": "a", "options": {"beamsize": 5}}', 'no field named "beamsize"'),
        ('{"text": "a", "options": {"beam_size": "x"}}', "Failed to parse beam_size field"),
    ],
)
def test_a_bad_line_is_told_with_its_field(tmp_path, line, message):
    file = tmp_path / "requests.jsonl"
    file.write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(BadInput) as caught:
        read_workload(file)
    assert str(caught.value).startswith(f"{file}, line 2: ")
    assert message in str(caught.value)


def test_an_empty_workload_is_none(tmp_path):
    (tmp_path / "requests.jsonl").write_text("\n")
    with pytest.raises(BadInput, match="no request in it"):
        read_workload(tmp_path / "requests.jsonl")


def test_requests_come_as_often_as_their_weights_say():
    found = Counter(itertools.islice(picks([1, 3, 6], (5, 0)), 10_000))
    assert [found[place] / 1000 for place in range(3)] == pytest.approx([1, 3, 6], abs=0.3)
    again, other = (list(itertools.islice(picks([1, 3, 6], seed), 50)) for seed in ((5, 0), (5, 1)))
    assert list(itertools.islice(picks([1, 3, 6], (5, 0)), 50)) == again
    assert again != other


def test_a_text_becomes_a_request_of_the_typed_api():
    call = prepare(TEXT, model="other", beam_size=None, stream=False)
    assert call.method == "/beamstep.v1.TranslationService/TranslateText"
    assert TranslateTextRequest.FromString(call.request) == TranslateTextRequest(
        text="zwölf Hunde", model="latin", model_version="2", options=DecodingOptions(beam_size=3)
    )
    call = prepare(TEXT, model="", beam_size=5, stream=True)
    assert (call.method, call.streams) == ("/beamstep.v1.TranslationService/StreamTranslateText", True)
    assert StreamTranslateTextRequest.FromString(call.request).options == DecodingOptions(beam_size=5)
    assert TEXT.options == DecodingOptions(beam_size=3)


def test_so_do_an_image_and_points():
    call = prepare(Item("captioning", b"photo", DecodingOptions()), model="eyes/1", beam_size=None, stream=False)
    asked = CaptionImageRequest.FromString(call.request)
    assert (asked.image, asked.model, asked.model_version) == (b"photo", "eyes", "1")
    call = prepare(POINTS, model="", beam_size=2, stream=False)
    assert call.method == "/beamstep.v1.PointingService/FindTour"
    asked = FindTourRequest.FromString(call.request)
    assert [(point.x, point.y) for point in asked.points] == [(0, 1), (2, 3.5), (4, 5)]
    assert asked.options.beam_size == 2
    with pytest.raises(BadInput, match="--stream: given with a workload of tour"):
        prepare(POINTS, model="", beam_size=None, stream=True)


def test_the_servers_own_times_are_read_from_the_last_message_of_a_stream():
    answer = StreamTranslateTextResponse()
    answer.answer.timings.queue_time.FromMilliseconds(3)
    answer.answer.timings.total_time.FromMilliseconds(1250)
    answer.answer.hypotheses.add().decoding.tokens.add()
    told, tokens = read_answer("/beamstep.v1.TranslationService/StreamTranslateText", answer.SerializeToString())
    assert dict(told) == {"queue": 0.003, "encode": 0, "decode": 0, "server": 1.25}
    assert tokens == 1


def test_server_timing_is_read_and_what_is_none_is_left_out():
    told = 'step;dur=12.5, search;desc="a;b";dur=3 ,cache, bad;dur=x'
    assert read_server_timing(told) == [("step", 0.0125), ("search", 0.003)]


def test_a_text_becomes_a_request_of_the_standard_protocol():
    options = DecodingOptions(length_penalty=0.5, length_normalization=LENGTH_NORMALIZATION_PLAIN, alternatives=True)
    options.sampling.temperature = 0.5
    item = Item("translation", "zwölf", options)
    call = kserve.prepare_infer(item, kserve.Tensor("text", "BYTES", 2), model="latin/2", beam_size=4)
    asked = ModelInferRequest.FromString(call.request)
    assert (asked.model_name, asked.model_version) == ("latin", "2")
    [tensor] = asked.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("text", "BYTES", [1, 1])
    assert asked.raw_input_contents == [b"\x06\0\0\0zw\xc3\xb6lf"]
    found = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in asked.parameters.items()}
    assert found == {
        "beam_size": 4, "length_penalty": 0.5, "length_normalization": "PLAIN", "alternatives": True,
        "sampling": True, "temperature": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(("datatype", "kind"), [("FP32", np.float32), ("FP64", np.float64)])
def test_points_go_as_the_model_wants_them(datatype, kind):
    for rank, shape in ((3, [1, 3, 2]), (2, [3, 2])):
        call = kserve.prepare_infer(POINTS, kserve.Tensor("points", datatype, rank), model="a", beam_size=None)
        asked = ModelInferRequest.FromString(call.request)
        assert list(asked.inputs[0].shape) == shape
        assert np.frombuffer(asked.raw_input_contents[0], kind).tolist() == [0, 1, 2, 3.5, 4, 5]


def test_a_models_inputs_are_read_from_its_metadata():
    told = ModelMetadataResponse(name="latin", versions=["1", "2"])
    told.inputs.add(name="INPUT0", datatype="BYTES", shape=[-1, 1])
    described = kserve.read_metadata(told.SerializeToString())
    assert described == kserve.Described("latin", ("1", "2"), (kserve.Tensor("INPUT0", "BYTES", 2),))
    assert kserve.choose_input(described, TEXT, "").name == "INPUT0"  # there is no other
    with pytest.raises(BadInput, match="--tensor: 'text'; allowed, the inputs of model 'latin': INPUT0"):
        kserve.choose_input(described, TEXT, "text")


def test_what_the_protocol_has_no_form_for_is_told():
    with pytest.raises(BadInput, match=r"options\.required_phrases: given"):
        kserve.parameters(DecodingOptions(required_phrases=["Hund"]))
    with pytest.raises(BadInput, match=r"options\.priority: given"):
        kserve.parameters(DecodingOptions(priority=PRIORITY_HIGH))
    with pytest.raises(BadInput, match="'text' is FP32; allowed for texts and images: BYTES"):
        kserve.prepare_infer(TEXT, kserve.Tensor("text", "FP32", 1), model="a", beam_size=None)
    with pytest.raises(BadInput, match="'points' is BYTES; allowed for points"):
        kserve.prepare_infer(POINTS, kserve.Tensor("points", "BYTES", 1), model="a", beam_size=None)


def test_prepared_calls_keep_their_weights():
    assert prepare(
        Item("translation", "a", DecodingOptions(), 2.5), model="", beam_size=None, stream=False
    ) == Prepared(
        "/beamstep.v1.TranslationService/TranslateText",
        TranslateTextRequest(text="a", options={}).SerializeToString(),
        False,
        2.5,
    )


@pytest.fixture
def text(tmp_path):
    """Sentences of 1 to 30 words, each length once."""
    (tmp_path / "text").write_text("".join(" ".join(["word"] * length) + "\n" for length in range(1, 31)) + "\n")
    return tmp_path / "text"


def words(requests):
    return [len(request["text"].split()) for request in requests]


def test_sentences_are_as_long_as_asked_for(text):
    natural = words(making.sentences(text, 20, Skew.NATURAL, shortest=5, longest=30, seed=1))
    assert len(set(natural)) == 20
    assert min(natural) >= 5
    skewed = words(making.sentences(text, 2000, Skew.ZIPF, shortest=5, longest=30, seed=1))
    counts = Counter(skewed)
    assert set(counts) == set(range(5, 31))
    assert counts[5] / counts[8] == pytest.approx(4, rel=0.3)  # the fourth shortest comes a quarter as often
    assert words(making.sentences(text, 2000, Skew.ZIPF, shortest=5, longest=30, seed=1)) == skewed
    with pytest.raises(BadInput, match="no line of 40 to 50 words"):
        list(making.sentences(text, 1, Skew.NATURAL, shortest=40, longest=50, seed=1))


def test_lognormal_lengths_lie_around_the_geometric_middle():
    lengths = making.draw_lengths(Skew.LOGNORMAL, 4000, 4, 100, np.random.default_rng(1))
    assert np.median(lengths) == pytest.approx(20, rel=0.1)
    assert (min(lengths), max(lengths)) >= (4, 5)
    assert max(lengths) <= 100
    assert making.draw_lengths(Skew.LOGNORMAL, 3, 7, 7, np.random.default_rng(1)) == [7, 7, 7]


def test_photos_are_found_from_where_the_workload_lies(tmp_path):
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("b.png", "more/a.JPG", "c.webp"):
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    (tmp_path / "made").mkdir()
    output = tmp_path / "made" / "photos.jsonl"
    assert making.write_workload(output, making.photos(tmp_path / "photos", output, None, Skew.ZIPF, seed=0)) == 3
    workload = read_workload(output)
    assert [item.weight for item in workload.items] == pytest.approx([1, 1 / 2, 1 / 3], rel=1e-5)
    assert all(item.task == "captioning" for item in workload.items)
    with pytest.raises(BadInput, match="no image in it"):
        list(making.photos(tmp_path / "made", output, None, Skew.UNIFORM, seed=0))


def test_point_sets_are_of_any_size_asked_for(tmp_path):
    output = tmp_path / "points.jsonl"
    making.write_workload(output, making.point_sets("convex_hull", 200, Skew.UNIFORM, fewest=5, most=8, seed=0))
    sizes = Counter(len(item.source) for item in read_workload(output).items)
    assert set(sizes) == {5, 6, 7, 8}
    assert min(sizes.values()) > 25
