"""The certificate of one precision on one provider, read top to bottom: tensors, tokens, metric, neighbours, speed, verdict."""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from export.certification.bounds import faults_of
from export.certification.metric import metric_change
from export.certification.neighbours import measure_influence
from export.certification.probes import SHAPES, USUAL_LENGTH, compare_tensors
from export.certification.references import References
from export.certification.sources import Source, likeness, random_source
from export.certification.speed import speed_ratios
from export.certification.tokens import compare_beam, compare_greedy
from export.manifest_file import now
from serving.bundle import Bundle
from serving.errors import ModelFault
from serving.manifest import Certificate, Precision
from serving.session import OnnxModel, SessionConfig

FP32: Final[Precision] = "fp32"
RANDOM_SOURCES: Final = 33
Progress = Callable[[str], None]


def certify(
    bundle: Bundle, precision: Precision, providers: tuple[str, ...], references: References | None, progress: Progress
) -> Certificate:
    """Run a bundle's graphs as serving does, and say what they do.

    Args:
        bundle: with the precision among its graphs; with fp32 too, speed is compared.
        precision: which graphs.
        providers: the execution providers to run them on, in order; the certificate is of the first.
        references: what to compare with; None measures only what needs no comparison, and the certificate says so.
        progress: called with a word on what is being done.

    Raises:
        BadBundle, BadConfiguration: the graphs cannot be loaded, or the provider is not there.
    """
    model = _open(bundle, precision, providers)
    found: dict[str, Any] = {"inputs": "random sources alone: no references to compare with"}
    faults: list[str] = []
    try:
        if references is not None:
            found, faults = _compared(bundle, model, references, progress)
        sources = _random_sources(bundle) if references is None else references.sources
        progress(f"{precision}: looking for an influence of neighbours")
        influence = measure_influence(bundle.manifest, model, sources)
        found |= {"neighbours_error": influence.of_rows, "padding_error": influence.of_sources}
        if precision != FP32 and FP32 in bundle.manifest.graphs:
            progress(f"{precision}: comparing speed with fp32")
            # A thread each: of two pools in one process, each waits for threads that the other keeps busy or has put to sleep.
            one, fp32 = (_open(bundle, each, providers, step_threads=1) for each in (precision, FP32))
            found["speed"] = speed_ratios(bundle.manifest, one, fp32, sources)
    except ModelFault as fault:
        faults.append(str(fault))
    return _judged(found, faults, precision, providers[0], of_images=bundle.manifest.image is not None)


def _compared(
    bundle: Bundle, model: OnnxModel, references: References, progress: Progress
) -> tuple[dict[str, Any], list[str]]:
    """Return the figures that need something to compare with, and faults that are no figures."""
    manifest, precision, count = bundle.manifest, model.precision, len(references.sources)
    progress(f"{precision}: comparing tensors on {SHAPES} random shapes")
    tensors = compare_tensors(references.probes, model)
    progress(f"{precision}: decoding {count} {references.label} greedily")
    greedy = compare_greedy(manifest, model, references)
    progress(f"{precision}: decoding them with beam {references.beam_size}")
    beam, answers = compare_beam(manifest, model, references)
    found = {
        "inputs": f"{count} {references.label}",
        "tensor_shapes": len(references.probes),
        "tensor_error": tensors.error,
        "tokens": (greedy, beam),
        "metric": metric_change(bundle, references, answers),
    }
    unlike = f"tensors: {tensors.unlike} numbers are finite on one side only" if tensors.unlike else ""
    return found, [unlike] if unlike else []


def _judged(
    found: dict[str, Any], faults: list[str], precision: Precision, provider: str, *, of_images: bool
) -> Certificate:
    """Put the figures together and judge them."""
    certificate = Certificate(
        provider=provider,
        precision=precision,
        passed=True,
        created=now(),
        machine=machine(),
        **found,
    )
    all_faults = (*faults, *faults_of(certificate, of_images=of_images))
    return certificate.model_copy(update={"passed": not all_faults, "faults": all_faults})


def machine() -> str:
    """Name the processor, the cores this process may use, and ONNX Runtime's version."""
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores, onnxruntime=={onnxruntime.__version__}"


def _processor() -> str:
    """Return the processor's name as Linux has it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _open(
    bundle: Bundle, precision: Precision, providers: tuple[str, ...], step_threads: int = SessionConfig().step_threads
) -> OnnxModel:
    config = SessionConfig(
        providers=providers, precision=precision, step_threads=step_threads, spinning=False, allow_uncertified=True
    )
    return OnnxModel(bundle, config)


def _random_sources(bundle: Bundle) -> list[Source]:
    random, limits, like = np.random.default_rng(0), bundle.manifest.limits, [likeness(bundle)]
    longest = min(limits.source_length, USUAL_LENGTH)
    lengths = random.integers(max(limits.min_source_length, 3), longest, RANDOM_SOURCES, endpoint=True)
    return [random_source(bundle.manifest.task, random, int(length), like) for length in lengths]
