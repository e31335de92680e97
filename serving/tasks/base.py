"""What every task does: a request's payload to encoder inputs, and tokens back to what they mean."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.errors import BadBundle
from serving.tasks.options import RequestedOptions, resolve_options
from serving.tasks.text import Tokenizer


@dataclass(frozen=True)
class Source:
    """One request's source, ready for the encoder.

    Attributes:
        inputs: the encoder's inputs by their ONNX names (docs/architecture.md), without the batch axis.
        length: positions of the encoder's input: pieces with `eos`, points, or image cells.
        vocabulary_size: how many token ids the answer can have.
        constraint: which tokens the answer may not take; None leaves all of them.
    """

    inputs: Mapping[str, NDArray[np.generic]]
    length: int
    vocabulary_size: int
    constraint: Constraint | None


class Task(ABC):
    """A bundle's way between requests and tensors; knows neither gRPC nor ONNX Runtime and is safe to share between threads."""

    def __init__(self, bundle: Bundle) -> None:
        """Open what the bundle brings for it, such as tokenizers."""
        self.bundle = bundle

    def options(self, requested: RequestedOptions, source: Source) -> DecodingOptions:
        """Check what a request asks of the search and complete it with the model's defaults; see `resolve_options`."""
        return resolve_options(requested, self.bundle.manifest, source.length, source.vocabulary_size)

    @abstractmethod
    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return each token as text; `eos` is one of them where the hypothesis has it."""

    def content(self, hypothesis: Hypothesis) -> list[int]:
        """Return the tokens without the `eos` at the end."""
        eos = self.bundle.manifest.vocabulary.eos
        return [token for token in hypothesis.tokens if token != eos]


class TextTask(Task):
    """A task whose answers are text."""

    def __init__(self, bundle: Bundle) -> None:
        """Open the target side's tokenizer.

        Raises:
            BadBundle: it is no tokenizer, or not the manifest's vocabulary.
        """
        super().__init__(bundle)
        tokenizer, size = bundle.manifest.tokenizers.target, bundle.manifest.vocabulary.size
        assert tokenizer is not None, "the manifest's validation"
        assert size is not None, "the manifest's validation"
        self._target_tokenizer = Tokenizer(bundle.path(tokenizer))
        self._vocabulary_size = size
        if self._target_tokenizer.size != size:
            held = f"{self._target_tokenizer.size} pieces"
            raise BadBundle(f"{bundle.path(tokenizer)}: {held}, the manifest says vocabulary.size {size}")

    def text(self, hypothesis: Hypothesis) -> str:
        """Return the text that a hypothesis stands for."""
        return self._target_tokenizer.decode(self.content(hypothesis))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return each token as a subword piece, `▁` standing for a space."""
        return self._target_tokenizer.pieces(tokens)
