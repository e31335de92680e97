"""A bundle is loaded whole, or refused with the name of the file at fault."""

import json

import pytest

from serving.bundle import MANIFEST_FILE, find_bundles, load_bundle, version_order
from serving.errors import BadBundle
from tests.fakes.bundles import seal, write_bundle


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path, "translation").folder


def change_manifest(folder, **keys):
    """Change keys of a manifest and seal it again."""
    seal(folder, json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")) | keys)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder_step.onnx", "source.model", "target.model"])
def test_a_truncated_file_is_named(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadBundle, match=rf"{name}: its sha256 is .*: truncated or altered"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder_step.onnx", "source.model", "target.model"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BadBundle, match=rf"{name}: missing; the manifest names it"):
        load_bundle(folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BadBundle, match=r"manifest.json: missing"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("number", [0, 3, "1", None, True, 2.0, [1]])
def test_an_unknown_format_number_is_said_with_the_one_allowed(folder, number):
    change_manifest(folder, format=number)
    with pytest.raises(BadBundle, match=r"manifest.json: format: .*; allowed: 1, 2\. Export its run again"):
        load_bundle(folder)


def test_a_manifest_that_is_not_json_is_refused(folder):
    path = folder / MANIFEST_FILE
    path.write_text(path.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    with pytest.raises(BadBundle, match=r"manifest.json: not JSON"):
        load_bundle(folder)


def test_a_manifest_that_is_not_text_is_refused(folder):
    (folder / MANIFEST_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadBundle, match=r"manifest.json: unreadable"):
        load_bundle(folder)


def test_every_fault_of_a_manifest_is_named(folder):
    change_manifest(folder, task="juggling", surprise=1)
    with pytest.raises(BadBundle, match=r"manifest.json: .*task: .*; surprise: ") as refused:
        load_bundle(folder)
    assert "\n" not in str(refused.value)


def test_a_file_name_that_leaves_the_folder_is_refused(folder):
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["graphs"]["fp32"]["encoder"]["file"] = "../encoder.onnx"
    change_manifest(folder, **manifest)
    with pytest.raises(BadBundle, match=r"graphs.fp32.encoder.file"):
        load_bundle(folder)


def test_bundles_are_found_by_name_then_latest_version_first(tmp_path):
    for name, version in (("tour", "2"), ("tour", "10"), ("hull", "1")):
        write_bundle(tmp_path, "tour" if name == "tour" else "convex_hull", name, version)
    assert [f"{path.parent.name}/{path.name}" for path in find_bundles(tmp_path)] == ["hull/1", "tour/10", "tour/2"]


def test_a_bundle_that_is_still_being_written_is_not_found(tmp_path):
    write_bundle(tmp_path, "tour")
    (tmp_path / ".tour-2-99.partial").mkdir()
    (tmp_path / ".tour-2-99.partial" / MANIFEST_FILE).touch()
    assert [path.name for path in find_bundles(tmp_path)] == ["1"]


def test_a_folder_without_bundles_is_refused(tmp_path):
    with pytest.raises(BadBundle, match="no bundle in it"):
        find_bundles(tmp_path)
    with pytest.raises(BadBundle, match="not a folder"):
        find_bundles(tmp_path / "nowhere")


def test_versions_are_ordered_as_people_do():
    assert sorted(["10", "2", "1.10", "1.9", "1"], key=version_order) == ["1", "1.9", "1.10", "2", "10"]


def test_a_manifest_may_be_laid_out_anew_but_not_changed(folder):
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(content.items()))), encoding="utf-8")
    load_bundle(folder)
    content["quality"][0]["value"] = 99.5
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadBundle, match=r"manifest.json: seal: its content is not what was sealed"):
        load_bundle(folder)


def test_a_manifest_without_a_seal_is_refused(folder):
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["seal"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadBundle, match=r"manifest.json: seal: missing"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder_step.onnx", "source.model", "target.model", MANIFEST_FILE])
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_bit_is_found_and_its_file_named(folder, name, place):
    path = folder / name
    content = bytearray(path.read_bytes().rstrip())
    content[place if place == -1 else int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadBundle, match=name):
        load_bundle(folder)


OLD_PARITY = {
    "provider": "CPUExecutionProvider",
    "tensor_shapes": 8,
    "tensor_error": 1e-5,
    "inputs": 200,
    "greedy_identical": 1.0,
    "beam_size": 5,
    "beam_identical": 0.995,
    "margin": None,
}


def write_format_1(tmp_path, **keys):
    manifest = write_bundle(tmp_path, "tour").manifest.model_dump(mode="json")
    pair = manifest["graphs"].pop("fp32")
    kept = {key: manifest[key] for key in manifest if key not in {"references", "certificates"}}
    old = kept | {"format": 1, "graphs": pair, "precision": "int8", "parity": [OLD_PARITY]} | keys
    (tmp_path / "tour" / "1" / MANIFEST_FILE).write_text(json.dumps(old), encoding="utf-8")
    return tmp_path / "tour" / "1"


def test_a_bundle_of_format_1_is_read_as_float32_with_its_parity_as_a_certificate(tmp_path):
    read = load_bundle(write_format_1(tmp_path)).manifest
    assert set(read.graphs) == {"fp32"}
    (certificate,) = read.certificates
    assert (certificate.precision, certificate.passed) == ("fp32", True)
    assert [tokens.identical for tokens in certificate.tokens] == [1.0, 0.995]


@pytest.mark.parametrize(
    "keys",
    [
        {"parity": None},
        {"parity": {"provider": "x"}},
        {"parity": [None]},
        {"parity": [{}]},
        {"parity": [OLD_PARITY | {"inputs": "many"}]},
        {"parity": [OLD_PARITY | {"greedy_identical": []}]},
        {"graphs": None},
        {"graphs": [1]},
        {"graphs": {"encoder": {}}},
        {"provenance": 3},
        {"surprise": 1},
    ],
)
def test_a_malformed_manifest_of_format_1_is_refused_in_one_line(tmp_path, keys):
    with pytest.raises(BadBundle, match=r"manifest.json: ") as refused:
        load_bundle(write_format_1(tmp_path, **keys))
    assert "\n" not in str(refused.value)
