"""What a search finds."""

from dataclasses import dataclass, field
from enum import Enum

from serving.decoding.step import FloatArray


class FinishReason(Enum):
    """Why a hypothesis ended."""

    END_OF_SEQUENCE = "the model produced eos"
    MAX_LENGTH = "the maximum length was reached first"
    DEADLINE = "the deadline came first"
    DEAD_END = "the model and the constraints left no token to go on with"


@dataclass(frozen=True)
class Hypothesis:
    """One answer to one request.

    Attributes:
        tokens: what was chosen, in order, without `bos`; `eos` is the last one where the reason is END_OF_SEQUENCE, and absent
            otherwise.
        token_log_probs: natural log of each token's probability given those before it, one a token.
        log_prob: their sum, accumulated in float64 from left to right.
        score: `log_prob`, with the repetition penalty, divided by the length penalty of `len(tokens)`, plus the coverage penalty;
            hypotheses are ordered by it, those cut at the maximum length or in a dead end behind the others.
        finish_reason: why it ended.
        attention: (T, S) what each token's row looked at, cut to the request's own source; None when not asked for.
    """

    tokens: tuple[int, ...]
    token_log_probs: tuple[float, ...]
    log_prob: float
    score: float
    finish_reason: FinishReason
    attention: FloatArray | None = field(default=None, compare=False)
