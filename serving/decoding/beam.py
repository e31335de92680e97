"""Beam search over all requests of a batch at once: between two graph runs, one selection for everybody.

    batch = SearchBatch(special)
    batch.add(request, source, options)              # any time between two turns; the caller appends the request's first state row
    outputs, state = model.step(batch.inputs(), memory, state)
    for finished in batch.select(outputs): ...       # those whose search is over, with their hypotheses
    batch.remove(request)                            # cancelled: its rows are not in the next inputs()

**The search.** At every step the beam of a request is the K best continuations of its live hypotheses, by accumulated
log-prob; ties go to the better parent, then to the better candidate of that parent (of equal ones the smaller id).
Continuations among those K that end in `eos` are finished and leave the beam; the others live on, and grow to K again
at the next step. An ending thus takes one of the K places of its step and of no other. This is Sutskever et al. 2014
(arXiv:1409.3215, section 3.2), and three things follow. Beam 1 is greedy search exactly: when the best token is
`eos`, nothing lives on. A beam as wide as the number of prefixes is exhaustive. And K candidates a row are enough,
where a beam that always refills to K live ones needs K + 1 and keeps searching past greedy's answer.

**Scores.** Hypotheses of different length are compared only when finished: score = log_prob / length_penalty(length,
alpha), `eos` counted.

**When to stop**, so that no better hypothesis is lost. Let s be the n-th best finished score, n = hypothesis_count,
and l the best log-prob of a live hypothesis. A log-prob is at most 0 and every further token adds at most 0, so
whatever a live hypothesis becomes has log-prob l' <= l. It ends with some length L <= M = max_length + 1 (`eos`
counted), and lp grows with the length, so lp(L) <= lp(M). Since l' <= l <= 0,

    l' / lp(L)  <=  l / lp(L)  <=  l / lp(M)        (dividing a number that is not positive by more brings it nearer to 0).

So when s >= l / lp(M), nothing still to come can be better than the n already there, and the search ends; with alpha
= 0 lp is 1 and the bound is l itself. Stopping any earlier (at the first n endings, say) could lose a longer
hypothesis that the penalty favours.

**The end of the road.** After max_length tokens one more step is taken in which `eos` is accepted under the rule
above; what did not take it is cut: a hypothesis without `eos`, reason MAX_LENGTH. Cut hypotheses only fill up to n
behind the ones that ended by themselves, since they have not paid for their ending. The same holds for a request none
of whose hypotheses can go on (reason DEAD_END).

**Neighbours.** Every request is selected from its own row of a grid (requests, K, k); a wider neighbour adds places
that hold -inf and candidates that K better ones of the same row precede, so an answer never depends on who else is in
the batch.
"""

import numpy as np
from numpy.typing import NDArray

from serving.decoding.constraints import Constraint
from serving.decoding.history import History
from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.penalties import length_penalty
from serving.decoding.request import Ending, Finished, Search
from serving.decoding.step import FloatArray, IntArray, StepInputs, StepOutputs

ScoreArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class SearchBatch:
    """The running searches of one model. A row is a live hypothesis; rows stand by request, then by rank in its beam."""

    def __init__(self, special: SpecialTokens) -> None:
        self._special = special
        self._searches: list[Search] = []
        self._joining: list[tuple[Search, int]] = []  # with the incoming state row each begins from
        self._state_rows = 0  # rows of the state that the next step will be given
        self._history = History()
        # One entry a row.
        self._place: IntArray = np.zeros(0, np.int64)  # its place in the grid of all beams, search * widest + rank
        self._token: IntArray = np.zeros(0, np.int64)
        self._parent: IntArray = np.zeros(0, np.int64)
        self._log_prob: ScoreArray = np.zeros(0)
        self._describe_searches()

    @property
    def row_count(self) -> int:
        """Return R of the next step."""
        return len(self._token) + len(self._joining)

    @property
    def request_count(self) -> int:
        """Return how many searches are running."""
        return len(self._searches) + len(self._joining)

    @property
    def wants_attention(self) -> bool:
        """Say whether the next step must return its attention."""
        return bool(self._attentive) or any(search.options.attention for search, _ in self._joining)

    def add(
        self,
        request: int,
        source: int,
        options: DecodingOptions,
        constraint: Constraint | None = None,
        source_length: int = 0,
    ) -> None:
        """Let a request join at the next step, beginning from one more row of state.

        The caller appends that row (the encoder's `state.*` for this source) to the state it passes to the next step, in
        the order of these calls.

        Args:
            request: any id, unique among those running.
            source: the memory that all its rows read.
            options: how to search.
            constraint: further tokens it may not take.
            source_length: positions of its own source, to which attention is cut; read only when options.attention is set.
        """
        assert options.special == self._special
        self._joining.append((Search(request, source, options, constraint, source_length), self._state_rows))
        self._state_rows += 1

    def remove(self, request: int) -> None:
        """Drop a request, whatever it has found; its rows are not in the next step. Does nothing when it is not running."""
        self._joining = [joining for joining in self._joining if joining[0].request != request]
        keep = np.array([search.request != request for search in self._searches], np.bool_)
        if not keep.all():
            self._keep_rows(np.flatnonzero(keep[self._place // self._widest]))
            self._keep_searches(keep)

    def inputs(self) -> StepInputs:
        """Return what the next step is to do, requests that joined included."""
        if self._joining:
            self._join()
        search_of_row = self._place // self._widest
        return StepInputs(
            token=self._token,
            parent=self._parent,
            source=self._source[search_of_row],
            banned=self._banned(search_of_row),
            query=np.full(len(self._token), self._special.pad),
            candidates=self._candidates,
        )

    def select(self, outputs: StepOutputs) -> list[Finished]:
        """Take every request one token on, and return those whose search is over; their rows are gone.

        Args:
            outputs: of the step that `inputs()` described, nothing added or removed since; `attention` when `wants_attention`.
        """
        if self._attentive:
            assert outputs.attention is not None
            self._record_attention(outputs.attention)

        # The beam of every search: the best K of all continuations, best first.             (searches, widest) from here on
        score, row, choice = self._best_continuations(outputs.log_prob)
        token = outputs.candidate[row, choice]
        log_prob = outputs.log_prob[row, choice]

        # Those that end are finished; the others live on, except after the last token allowed.
        alive = self._in_beam & (score > -np.inf)
        ending = alive & (token == self._special.eos)
        kept = alive & ~ending & (self._history.turn - self._joined < self._max_length)[:, None]
        for place in np.flatnonzero(ending).tolist():
            self._finish_hypothesis(place, float(score.flat[place]), int(row.flat[place]), float(log_prob.flat[place]))

        # A search is over when the best that can still come would not be better than what it has.
        best_live = np.where(kept, score, -np.inf).max(axis=1, initial=-np.inf)
        over = self._threshold >= best_live / self._longest_penalty
        finished = [self._finish_search(index) for index in np.flatnonzero(over).tolist()]
        kept[over] = False

        places = np.flatnonzero(kept)
        self._advance(places, row.take(places), token.take(places), score.take(places), log_prob.take(places))
        if finished:
            self._keep_searches(~over)
        return finished

    # ---- selection

    def _best_continuations(self, log_prob: FloatArray) -> tuple[ScoreArray, IntArray, IntArray]:
        """Return the K best continuations of every search, (searches, widest): log-prob, row continued, which candidate of it."""
        total = self._log_prob[:, None] + log_prob  # (R, k) float64
        if not np.maximum.reduce(total, axis=None) < np.inf:
            self._set_aside_faulty(total)
        rows, candidates = total.shape
        places = len(self._searches) * self._widest
        grid = total
        if rows < places:  # some beam is not full: its free places hold -inf
            grid = np.full((places, candidates), -np.inf)
            grid[self._place] = total
        grid = grid.reshape(len(self._searches), self._widest * candidates)
        # A stable sort keeps equal ones in the grid's order: the better parent, then its better candidate.
        order = (-grid).argsort(axis=1, kind="stable")[:, : self._widest]
        position = order + self._search_index * grid.shape[1]
        place, choice = np.divmod(position, candidates)
        if rows < places:
            row_of_place = np.zeros(places, np.int64)
            row_of_place[self._place] = np.arange(rows)
            place = row_of_place[place]
        return grid.take(position), place, choice

    def _set_aside_faulty(self, total: ScoreArray) -> None:
        """Mark the searches that were given NaN or +inf, and let nothing follow from their rows."""
        faulty_rows = ~(total < np.inf).all(axis=1)
        for index in np.unique(self._place[faulty_rows] // self._widest).tolist():
            self._searches[index].faulty = True
            total[self._rows_of(index)] = -np.inf

    def _finish_hypothesis(self, place: int, log_prob: float, row: int, eos_log_prob: float) -> None:
        """Add what ended in `eos` at `place` to its search's finished hypotheses, if it is among the n best of them."""
        index = place // self._widest
        search = self._searches[index]
        step = self._history.turn - search.joined
        score = log_prob / length_penalty(step + 1, search.options.length_penalty)
        if score > search.threshold:
            tokens, log_probs = self._history.of_row(row, search.joined)
            tokens.append(self._special.eos)
            log_probs.append(eos_log_prob)
            rank = row - self._rows_of(index).start
            search.offer(Ending(score, log_prob, tokens, log_probs, FinishReason.END_OF_SEQUENCE, step, rank))
            self._threshold[index] = search.threshold

    def _finish_search(self, index: int) -> Finished:
        """Return what a search found, filled up with cut hypotheses where too few ended by themselves."""
        search = self._searches[index]
        step = self._history.turn - search.joined
        if search.faulty:
            return Finished(search.request, (), step + 1)
        endings = list(search.endings)
        if len(endings) < search.options.hypothesis_count:
            ended_now = {ending.rank for ending in endings if ending.step == step}
            reason = FinishReason.MAX_LENGTH if step == search.options.max_length else FinishReason.DEAD_END
            rows = self._rows_of(index)
            live = [rank for rank in range(rows.stop - rows.start) if rank not in ended_now]  # best first
            missing = search.options.hypothesis_count - len(endings)
            endings += [self._cut(search, rows.start, rank, step, reason) for rank in live[:missing]]
        return Finished(search.request, tuple(search.hypothesis(ending) for ending in endings), step + 1)

    def _cut(self, search: Search, start: int, rank: int, step: int, reason: FinishReason) -> Ending:
        """Return a live hypothesis as it stands, without an end."""
        tokens, log_probs = self._history.of_row(start + rank, search.joined)
        log_prob = float(self._log_prob[start + rank])
        score = log_prob / length_penalty(len(tokens), search.options.length_penalty)
        return Ending(score, log_prob, tokens, log_probs, reason, step, rank)

    # ---- what the next step is told

    def _banned(self, search_of_row: IntArray) -> IntArray:
        """Return what each row may not take, (R, M): `eos` before the minimum length, and what its constraint says."""
        blocks: list[tuple[slice, IntArray]] = []
        minimum = int(self._history.turn < self._last_minimum)  # whether column 0 is for the minimum length
        for index in self._constrained:
            search, rows = self._searches[index], self._rows_of(index)
            assert search.constraint is not None
            blocks.append((rows, search.constraint.banned(self._history.tokens(rows, search.joined))))
        width = minimum + max((block.shape[1] for _, block in blocks), default=0)
        banned = np.full((len(self._token), width), self._special.pad)
        if minimum:
            too_short = self._history.turn - self._joined < self._min_length
            banned[too_short[search_of_row], 0] = self._special.eos
        for rows, block in blocks:
            banned[rows, minimum : minimum + block.shape[1]] = block
        return banned

    def _rows_of(self, index: int) -> slice:
        """Return the rows of one search."""
        start, stop = self._place.searchsorted((index * self._widest, (index + 1) * self._widest)).tolist()
        return slice(start, stop)

    def _record_attention(self, attention: FloatArray) -> None:
        """Keep what the rows looked at, for the searches that want it."""
        for index in self._attentive:
            search, rows = self._searches[index], self._rows_of(index)
            search.trail.record(attention[rows], self._parent[rows] - search.start)
            search.start = rows.start

    # ---- who is in the batch

    def _join(self) -> None:
        """Give every request that was added its first row."""
        searches = [search for search, _ in self._joining]
        first = len(self._searches)
        search, rank = np.divmod(self._place, self._widest)
        for joining in searches:
            joining.joined = self._history.turn
        self._searches += searches
        self._describe_searches()
        self._place = np.concatenate(
            (search * self._widest + rank, np.arange(first, len(self._searches)) * self._widest)
        )
        self._token = np.concatenate((self._token, np.full(len(searches), self._special.bos)))
        self._parent = np.concatenate((self._parent, np.array([row for _, row in self._joining], np.int64)))
        self._log_prob = np.concatenate((self._log_prob, np.zeros(len(searches))))
        self._history.add_rows(len(searches))
        self._joining = []

    def _advance(
        self, place: IntArray, row: IntArray, token: IntArray, score: ScoreArray, log_prob: FloatArray
    ) -> None:
        """Let the chosen continuations be the rows of the next step; all (R',)."""
        self._history.keep_rows(row)
        self._history.append(token, log_prob, self._oldest)
        self._state_rows = len(self._token)
        self._place, self._parent, self._token, self._log_prob = place, row, token, score

    def _keep_searches(self, keep: BoolArray) -> None:
        """Forget the searches that are over; their rows are gone already."""
        search, rank = np.divmod(self._place, self._widest)
        self._searches = [search for search, stays in zip(self._searches, keep.tolist(), strict=True) if stays]
        self._describe_searches()
        self._place = (np.cumsum(keep) - 1)[search] * self._widest + rank

    def _keep_rows(self, rows: IntArray) -> None:
        """Drop the other rows, between two steps."""
        self._history.keep_rows(rows)
        self._place, self._parent = self._place[rows], self._parent[rows]
        self._token, self._log_prob = self._token[rows], self._log_prob[rows]

    def _describe_searches(self) -> None:
        """Lay out what selection needs of every search; called when one joins or leaves."""
        options = [search.options for search in self._searches]
        self._widest = max((option.beam_size for option in options), default=1)
        self._candidates = max((search.candidates for search in self._searches), default=1)
        beam_size = np.array([option.beam_size for option in options], np.int64)
        self._in_beam: BoolArray = np.arange(self._widest) < beam_size[:, None]
        self._search_index: IntArray = np.arange(len(options))[:, None]
        self._source: IntArray = np.array([search.source for search in self._searches], np.int64)
        self._joined: IntArray = np.array([search.joined for search in self._searches], np.int64)
        self._oldest = (
            self._searches[0].joined if self._searches else self._history.turn
        )  # they stand in order of joining
        self._min_length: IntArray = np.array([option.min_length for option in options], np.int64)
        self._last_minimum = max((search.joined + search.options.min_length for search in self._searches), default=0)
        self._max_length: IntArray = np.array([option.max_length for option in options], np.int64)
        self._threshold: ScoreArray = np.array([search.threshold for search in self._searches], np.float64)
        self._longest_penalty: ScoreArray = np.array([search.longest_penalty for search in self._searches], np.float64)
        self._constrained = [i for i, search in enumerate(self._searches) if search.constraint is not None]
        self._attentive = [i for i, search in enumerate(self._searches) if search.options.attention]
