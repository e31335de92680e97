"""What searches have found: hypotheses that ended, and those that are cut where the search stops."""

from collections.abc import Sequence

from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.request import Ending, Finished, Progress, Search
from serving.decoding.rows import Rows
from serving.decoding.step import IntArray


def finish(search: Search, rows: Rows, own: slice) -> Finished | None:
    """Return what a search that is over found, filled up with cut hypotheses where too few ended.

    To be called in the turn in which it is over, before the rows advance.

    Args:
        search: with its endings.
        rows: of all searches.
        own: which of them are its own.

    Returns:
        None while other alternatives of its request are still searched.
    """
    step = rows.history.turn - search.joined
    found: list[Hypothesis] = []
    if not search.faulty:
        over_now = {ending.row for ending in (*search.endings, *search.lost) if ending.step == step}
        reason = FinishReason.MAX_LENGTH if step == search.options.max_length else FinishReason.DEAD_END
        needed = len(search.endings) < search.options.hypothesis_count
        live = [row for row in _worth_cutting(search, own) if row not in over_now] if needed else []
        cut = [_cut(search, rows, row, (step, row), reason) for row in live]
        best_first = sorted([*search.lost, *cut], key=lambda ending: -ending.score)
        found = _answers(search, rows, [*search.endings, *best_first])
    if search.fork is None:
        return Finished(search.request, tuple(found), step + 1)
    fork = search.fork
    fork.running -= 1
    fork.found += found
    fork.faulty |= search.faulty
    if fork.running:
        return None
    return Finished(search.request, () if fork.faulty else _best(fork.found), step + 1)


def stop(request: int, searches: Sequence[tuple[Search, slice]], rows: Rows) -> Finished:
    """Return the best that a request has found so far, between two steps; nothing before its first.

    A live hypothesis is cut and stands by its score: what ended early because it is bad is no better for having ended.

    Args:
        request: its id.
        searches: its searches, several only where it has alternatives, each with its rows.
        rows: of all searches.
    """
    found: list[Hypothesis] = []
    steps = 0
    for number, (search, own) in enumerate(searches):
        steps = rows.history.turn - search.joined
        if search.fork is not None and number == 0:
            found += search.fork.found
        live = _worth_cutting(search, own) if steps else []
        cut = [_cut(search, rows, row, (steps - 1, int(rows.parent[row])), FinishReason.DEADLINE) for row in live]
        found += _answers(search, rows, sorted([*search.endings, *search.lost, *cut], key=lambda ending: -ending.score))
    return Finished(request, _best(found), steps)


def lose(search: Search, rows: Rows, own: slice, ranks: IntArray) -> None:
    """Note the samples, by their rows, that cannot go on; a beam gives their places to others, but samples are no rivals.

    To be called before the rows advance. After the last token allowed they are cut as all others are.
    """
    step = rows.history.turn - search.joined
    if step < search.options.max_length:
        reason = FinishReason.DEAD_END
        search.lost += [_cut(search, rows, row, (step, row), reason) for row in (own.start + ranks).tolist()]


def progress(searches: Sequence[Search], rows: Rows, own: slice) -> Progress:
    """Return how far a request has come, between two steps; see `stop` for what it is given, `own` being the rows of all."""
    tokens = rows.history.tokens(own, searches[0].joined)  # (rows, t)
    shared = (tokens == tokens[:1]).all(axis=0)
    certain = len(shared) if shared.all() else int(shared.argmin())
    live = int(rows.log_prob[own].argmax())
    best = tokens[live].tolist()
    best_score = float(rows.log_prob[own][live]) / searches[0].length_penalty(max(1, len(best)))
    for score, ended in _ended(searches):
        certain = min(certain, _shared(tokens[0].tolist(), ended))
        if score >= best_score:
            best, best_score = ended, score
    return Progress(tuple(best), certain)


def _answers(search: Search, rows: Rows, endings: Sequence[Ending]) -> list[Hypothesis]:
    """Return a search's hypotheses, as many of `endings` as were asked for."""
    return [search.hypothesis(ending, rows.trail) for ending in endings[: search.options.hypothesis_count]]


def _worth_cutting(search: Search, own: slice) -> Sequence[int]:
    """Return the rows to be cut where too few hypotheses ended: those that hold all required phrases, if anything found does."""
    live = range(own.start, own.stop)
    if search.phrases is None:
        return live
    holding = [own.start + rank for rank in search.phrases.holding()]
    return holding if holding or search.endings else live


def _cut(search: Search, rows: Rows, row: int, at: tuple[int, int], reason: FinishReason) -> Ending:
    """Return a live hypothesis as it stands, without an end; `at` is the last step taken, and which row it was then."""
    tokens, log_probs = rows.history.of_row(row, search.joined)
    score = search.score(float(rows.log_prob[row]), len(tokens), at[1])
    return Ending(score, tokens, log_probs, reason, *at)


def _best(hypotheses: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """Order hypotheses: those that ended, or that only a deadline cut, by score; then the others."""
    behind = (FinishReason.MAX_LENGTH, FinishReason.DEAD_END)
    return tuple(sorted(hypotheses, key=lambda found: (found.finish_reason in behind, -found.score)))


def _ended(searches: Sequence[Search]) -> list[tuple[float, list[int]]]:
    """Return the scores and tokens, without `eos`, of the hypotheses that are over and may still be a request's best."""
    found = [(search.endings[0].score, search.endings[0].tokens[:-1]) for search in searches if search.endings]
    found += [(one.score, one.tokens) for search in searches for one in search.lost]
    if searches[0].fork is not None:
        eos = searches[0].options.special.eos
        found += [(one.score, [token for token in one.tokens if token != eos]) for one in searches[0].fork.found]
    return found


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two hypotheses share from their beginning."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
