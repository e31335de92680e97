"""What is served is what was found to give the right answers on the provider; anything else only when told so."""

import pytest

from serving.errors import BadConfiguration
from serving.manifest import Manifest
from serving.precision import CPU, choose_precision, parse_precisions
from tests.fakes.bundles import passed, write_bundle

CUDA = "CUDAExecutionProvider"


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    return write_bundle(tmp_path, "tour").manifest


def having(manifest: Manifest, precisions, certificates=()) -> Manifest:
    graphs = dict.fromkeys(precisions, manifest.graphs["fp32"])
    return manifest.model_copy(update={"graphs": graphs, "certificates": tuple(certificates)})


def failed(precision):
    return passed(precision).model_copy(update={"passed": False, "faults": ("greedy: it differs",)})


def test_the_best_certified_precision_of_the_provider_is_served(manifest):
    both = [passed("fp32"), passed("int8")]
    assert choose_precision(having(manifest, ["fp32", "int8"], both), CPU) == "int8"
    assert choose_precision(having(manifest, ["fp32", "int8"], [failed("int8"), passed("fp32")]), CPU) == "fp32"
    assert choose_precision(having(manifest, ["fp32", "fp16"], [passed("fp16", CUDA)]), CUDA) == "fp16"


def test_without_a_certificate_the_refusal_says_which_there_are_and_what_to_do(manifest):
    failing = having(manifest, ["fp32", "int8"], [failed("int8"), passed("fp32", CUDA)])
    with pytest.raises(BadConfiguration) as refused:
        choose_precision(failing, CPU)
    said = str(refused.value)
    assert "int8 on CPUExecutionProvider (failed), fp32 on CUDAExecutionProvider (passed)" in said
    assert "beamstep verify models/tour/1 --provider CPUExecutionProvider --precision int8,fp32 --write" in said
    assert "--allow-uncertified" in said


def test_a_precision_that_is_asked_for_needs_its_own_certificate(manifest):
    some = having(manifest, ["fp32", "int8"], [passed("fp32")])
    assert choose_precision(some, CPU, "fp32") == "fp32"
    with pytest.raises(BadConfiguration, match="has none that int8 passed on CPU"):
        choose_precision(some, CPU, "int8")
    assert choose_precision(some, CPU, "int8", allow_uncertified=True) == "int8"


def test_told_to_go_on_without_a_certified_one_is_still_preferred(manifest):
    assert choose_precision(having(manifest, ["fp32", "int8"]), CPU, allow_uncertified=True) == "int8"
    some = having(manifest, ["fp32", "int8"], [failed("int8"), passed("fp32")])
    assert choose_precision(some, CPU, allow_uncertified=True) == "fp32"


def test_a_precision_that_is_not_there_is_refused_whatever_is_allowed(manifest):
    with pytest.raises(BadConfiguration, match="precision: int8; tour/1 has fp32"):
        choose_precision(manifest, CPU, "int8", allow_uncertified=True)


def test_lists_of_precisions_are_read(manifest):
    assert parse_precisions("int8, fp32") == ("int8", "fp32")
    for wrong in ("", "int4", "int8,int8", "int8,"):
        with pytest.raises(BadConfiguration, match="allowed: some of fp32,int8,fp16, each once"):
            parse_precisions(wrong)
