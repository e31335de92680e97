"""What every task does: a request's payload to encoder inputs, and tokens back to what they mean."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.decoding.bans import NoRepeatedNgram, SuppressedTokens, all_of
from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.phrases import RequiredPhrases
from serving.decoding.step import IntArray
from serving.errors import BadBundle, InvalidRequest
from serving.tasks.options import (
    RequestedOptions,
    Wording,
    check_tokens,
    check_unset_for_scoring,
    ngram_size,
    resolve_options,
)
from serving.tasks.text import Tokenizer
from serving.tasks.text_parts import TextParts
from serving.tasks.wording import required_phrases, suppressed_phrases, target_tokens


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


class Plan(NamedTuple):
    """How one request is to be searched: resolved, and allowed by the model."""

    options: DecodingOptions
    constraint: Constraint | None


class Task(ABC):
    """A bundle's way between requests and tensors; knows neither gRPC nor ONNX Runtime and is safe to share between threads.

    Attributes:
        rule: what a source's constraint asks of an answer, for people; empty where there is none.
    """

    rule: ClassVar[str] = ""

    def __init__(self, bundle: Bundle) -> None:
        """Open what the bundle brings for it, such as tokenizers."""
        self.bundle = bundle

    @property
    def vocabulary_identity(self) -> tuple[object, ...]:
        """Return what two models must agree in to decode as one: their special ids, and what their tokens stand for."""
        manifest = self.bundle.manifest
        target = manifest.tokenizers.target
        return manifest.vocabulary, None if target is None else target.sha256

    def plan(self, requested: RequestedOptions, source: Source) -> Plan:
        """Check what a request asks of the search, and complete it with the model's defaults.

        Raises:
            InvalidRequest: see `resolve_options`; or what it requires of the answer is what the task or itself forbids.
        """
        vocabulary_size = source.vocabulary_size
        prefix = requested.target_prefix_tokens or self._text_prefix(requested)
        vocabulary = self.bundle.manifest.vocabulary
        check_tokens("target_prefix_tokens", requested.target_prefix_tokens, vocabulary_size, vocabulary)
        wording = Wording(prefix, self._required(requested))
        options = resolve_options(requested, self.bundle.manifest, source.length, vocabulary_size, wording)
        wrong = first_banned(options.prefix, source.constraint)
        if wrong is not None:
            raise InvalidRequest(f"options.target_prefix_tokens[{wrong}]", str(options.prefix[wrong]), self.rule)
        return Plan(options, self.constraint(requested, source))

    def constraint(self, requested: RequestedOptions, source: Source) -> Constraint | None:
        """Return what the source and the request itself rule out; None where they leave everything."""
        task_rules = [] if source.constraint is None else [source.constraint]
        return all_of([*task_rules, *self._own_rules(requested, source.vocabulary_size)])

    def plan_score(self, requested: RequestedOptions, source: Source, target: Sequence[int]) -> Plan:
        """Check what a request that gives the whole answer, `target` without `eos`, asks for.

        `TextTask.target` and `Pointing.target` make targets, and refuse those that are no answer.

        Raises:
            InvalidRequest: an option does not apply, or is out of range.
        """
        check_unset_for_scoring(requested)
        wording = Wording(tuple(target), scored=True)
        options = resolve_options(requested, self.bundle.manifest, source.length, source.vocabulary_size, wording)
        return Plan(options, None)

    def _own_rules(self, requested: RequestedOptions, vocabulary_size: int) -> list[Constraint]:
        """Return what the request itself rules out."""
        vocabulary, suppressed = self.bundle.manifest.vocabulary, requested.suppressed_tokens
        check_tokens("suppressed_tokens", suppressed, vocabulary_size, vocabulary)
        rules: list[Constraint] = [SuppressedTokens(suppressed)] if suppressed else []
        if size := ngram_size(requested):
            rules.append(NoRepeatedNgram(size, vocabulary.pad))
        return rules

    def _text_prefix(self, requested: RequestedOptions) -> tuple[int, ...]:
        """Return the tokens of a prefix given as text."""
        self._refuse_text("target_prefix", requested.target_prefix)
        return ()

    def _required(self, requested: RequestedOptions) -> RequiredPhrases | None:
        """Return what the answer must hold."""
        self._refuse_text("required_phrases", requested.required_phrases)
        self._refuse_text("suppressed_phrases", requested.suppressed_phrases)
        return None

    def check_target_length(self, field: str, count: int, noun: str) -> None:
        """Refuse a whole answer longer than the model's."""
        limit = self.bundle.manifest.limits.max_length
        if count > limit:
            raise InvalidRequest(field, f"{count} {noun}", f"up to {limit}, the model's limit on max_length")

    def _refuse_text(self, name: str, given: Sequence[str]) -> None:
        if given:
            raise InvalidRequest(
                f"options.{name}", "given", f"unset: the answers of a {self.bundle.manifest.task} model are no text"
            )

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

    def target(self, field: str, text: str) -> tuple[int, ...]:
        """Cut the text of a whole answer into tokens; see `target_tokens`.

        Raises:
            InvalidRequest: the model cannot write it, or not so much.
        """
        tokens = self._target_tokens(field, text)
        self.check_target_length(field, len(tokens), "subword pieces")
        return tokens

    def parts(self) -> TextParts:
        """Return what makes a running search's progress into text."""
        return TextParts(self._target_tokenizer)

    def _text_prefix(self, requested: RequestedOptions) -> tuple[int, ...]:
        return self._target_tokens("options.target_prefix", requested.target_prefix)

    def _target_tokens(self, field: str, text: str) -> tuple[int, ...]:
        return target_tokens(field, text, self._target_tokenizer, self.bundle.manifest.vocabulary.unk)

    def _required(self, requested: RequestedOptions) -> RequiredPhrases | None:
        if not requested.required_phrases:
            return None
        return required_phrases(requested.required_phrases, self._target_tokenizer, self.bundle.manifest.vocabulary.unk)

    def _own_rules(self, requested: RequestedOptions, vocabulary_size: int) -> list[Constraint]:
        rules = super()._own_rules(requested, vocabulary_size)
        if requested.suppressed_phrases:
            pad = self.bundle.manifest.vocabulary.pad
            rules.append(suppressed_phrases(requested.suppressed_phrases, self._target_tokenizer, pad))
        for place, phrase in enumerate(requested.required_phrases):
            tokens = self._target_tokenizer.encode(phrase)
            wrong = first_banned(tokens, all_of(rules))
            if wrong is not None:
                written = self._target_tokenizer.decode(tokens[: wrong + 1])
                given = f"{written!r}, which a suppressed option or no_repeat_ngram_size rules out"
                raise InvalidRequest(f"options.required_phrases[{place}]", given, "what they leave")
        return rules

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return each token as a subword piece, `▁` standing for a space."""
        return self._target_tokenizer.pieces(tokens)


def first_banned(tokens: Sequence[int], constraint: Constraint | None) -> int | None:
    """Return the place of the first token that a constraint would not let come there."""
    if constraint is None:
        return None
    row: IntArray = np.array([tokens], np.int64)
    return next((place for place, token in enumerate(tokens) if token in constraint.banned(row[:, :place])), None)
