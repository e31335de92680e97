"""The two graphs of a bundle, opened as the configuration says."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serving.bundle import Bundle
from serving.manifest import GraphSpec, Precision
from serving.runtime.bound import BoundGraph
from serving.runtime.config import SessionConfig
from serving.runtime.device import Device
from serving.runtime.opening import open_graph
from serving.runtime.padding import Padding, Unpadded
from serving.runtime.profiles import profile_options, ranges
from serving.runtime.providers import TENSORRT, provider_options


class Graph(Protocol):
    """What runs: a plain session of ONNX Runtime, or one that is bound to its device."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Any]) -> list[Any]:
        """Return the outputs that are named."""


def open_pair(bundle: Bundle, precision: Precision, config: SessionConfig) -> tuple[Graph, Graph]:
    """Return encoder and decoder step; on a GPU they share the device on which memory and states stay.

    Raises:
        BadBundle: a graph cannot be loaded, or is not what the manifest says.
        BadConfiguration: a provider did not load.
    """
    graphs = bundle.manifest.graphs[precision]
    device = Device(config.providers[0], config.device_id, padding_of(bundle, config))

    def opened(graph: GraphSpec, threads: int) -> Graph:
        session: Graph = open_graph(
            bundle, graph, precision, config, threads, _options(bundle, graph, precision, config)
        )
        return BoundGraph(session, graph, device, bundle.manifest.vocabulary.pad) if config.bound else session

    return opened(graphs.encoder, config.encoder_threads), opened(graphs.decoder_step, config.step_threads)


def padding_of(bundle: Bundle, config: SessionConfig) -> Padding:
    """Return the sizes that shapes are rounded up to."""
    return Padding(bundle.manifest.source_buckets) if config.padded else Unpadded()


def _options(
    bundle: Bundle, graph: GraphSpec, precision: Precision, config: SessionConfig
) -> dict[str, dict[str, str]]:
    """Return what each provider is told of a graph."""
    profiles = None
    if config.padded and TENSORRT in config.providers:
        sizes = ranges(bundle.manifest, padding_of(bundle, config), config.batch_rows, config.batch_sources)
        profiles = profile_options(graph, sizes)
    return {
        name: provider_options(
            name,
            device_id=config.device_id,
            float16=precision == "fp16",
            cache=config.tensorrt_cache,
            profiles=profiles,
        )
        for name in config.providers
    }
