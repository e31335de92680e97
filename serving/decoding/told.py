"""What a step is told of the running searches: which tokens are banned, which are asked for, how many are wanted."""

import numpy as np

from serving.decoding.constraints import Chosen
from serving.decoding.layout import Layout
from serving.decoding.options import SpecialTokens
from serving.decoding.request import Search
from serving.decoding.rows import Rows
from serving.decoding.step import IntArray


def candidates(layout: Layout, turn: int) -> int:
    """Return k: the most that any request needs."""
    wanted = layout.candidates
    for index in layout.penalised:
        wanted = max(wanted, candidates_of(layout.searches[index], turn))
    return wanted


def candidates_of(search: Search, turn: int) -> int:
    """Return how many candidates one request needs of each row; see `penalties.penalise_repetition`."""
    if search.options.repetition_penalty == 1:
        return search.candidates
    held = turn - search.joined
    return min(search.candidates + held, search.options.vocabulary_size)


def forced_token(search: Search, turn: int) -> int | None:
    """Return the token that a search must take next, whatever is banned."""
    step = turn - search.joined
    return search.forced[step] if step < len(search.forced) else None


def queries(layout: Layout, rows: Rows, special: SpecialTokens) -> IntArray:
    """Return the token (R,) whose log-prob each row needs: forced or required; `pad` where it needs none."""
    turn = rows.history.turn
    query = np.full(len(rows), special.pad)
    for index in layout.asking:
        search = layout.searches[index]
        assert search.phrases is not None
        query[rows.of(index, layout.widest)] = search.phrases.queries(turn - search.joined)
    for index in layout.forced:
        token = forced_token(layout.searches[index], turn)
        if token is not None:
            query[rows.of(index, layout.widest)] = token
    return query


def banned(layout: Layout, rows: Rows, special: SpecialTokens) -> IntArray:
    """Return what each row may not take, (R, M): `eos` before the minimum length, and what its constraints say."""
    history = rows.history
    minimum = int(history.turn < layout.last_minimum)  # whether column 0 is for the minimum length
    if not minimum and not layout.constrained and not layout.joint:
        return np.empty((len(rows), 0), np.int64)
    search_of_row = rows.place // layout.widest
    blocks: list[tuple[slice | IntArray, IntArray]] = []
    for joint, number in layout.joint:
        chosen = Chosen(history.every(), history.turn - layout.joined[search_of_row], number[search_of_row])
        own_rows: slice | IntArray = slice(None)
        if np.count_nonzero(chosen.owner < 0):
            own_rows = np.flatnonzero(chosen.owner >= 0)
            chosen = Chosen(*(part[own_rows] for part in chosen))
        blocks.append((own_rows, joint.banned(chosen)))
    for index in layout.constrained:
        search, own = layout.searches[index], rows.of(index, layout.widest)
        parts = [] if search.phrases is None else [search.phrases.banned()]
        if search.constraint is not None:
            parts.append(search.constraint.banned(history.tokens(own, search.joined)))
        blocks.append((own, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)))
    if len(blocks) == 1 and not minimum and len(blocks[0][1]) == len(rows):
        return blocks[0][1]
    width = minimum + max((block.shape[1] for _, block in blocks), default=0)
    tokens = np.full((len(rows), width), special.pad)
    if minimum:
        too_short = history.turn < layout.may_end
        tokens[too_short[search_of_row], 0] = special.eos
    for which, block in blocks:
        tokens[which, minimum : minimum + block.shape[1]] = block
    return tokens
