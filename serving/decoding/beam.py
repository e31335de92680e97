"""Beam search over all requests of a batch at once: between two graph runs, one selection for everybody.

    batch = SearchBatch(special)
    batch.add(request, source, options)              # any time between two turns; the caller appends the request's first state row
    outputs, state = model.step(batch.inputs(), memory, state)
    for finished in batch.select(outputs): ...       # those whose search is over, with their hypotheses
    batch.remove(request)                            # cancelled: its rows are not in the next inputs()
    finished = batch.stop(request)                   # out of time: the best it has found so far

**The search.** At every step the beam of a request is the K best continuations of its live hypotheses, by accumulated
log-prob; ties go to the better parent, then to the better candidate of that parent (of equal ones the smaller id).
Continuations among those K that end in `eos` are finished and leave the beam; the others live on, and grow to K again
at the next step. An ending thus takes one of the K places of its step and of no other. This is Sutskever et al. 2014
(arXiv:1409.3215, section 3.2), and three things follow. Beam 1 is greedy search exactly: when the best token is
`eos`, nothing lives on. A beam as wide as the number of prefixes is exhaustive. And K candidates a row are enough,
where a beam that always refills to K live ones needs K + 1 and keeps searching past greedy's answer.

**Scores.** Hypotheses of different length are compared only when finished: score = log_prob / length_penalty(length,
alpha), `eos` counted, plus a coverage penalty that is at most 0. With a repetition penalty it is the penalised log-prob that is
accumulated and compared; it too is at most 0 and never grows.

**When to stop**, so that no better hypothesis is lost. Let s be the n-th best finished score, n = hypothesis_count,
and l the best log-prob of a live hypothesis. A log-prob is at most 0 and every further token adds at most 0, so
whatever a live hypothesis becomes has log-prob l' <= l. It ends with some length L <= M = max_length + 1 (`eos`
counted), and lp grows with the length, so lp(L) <= lp(M). Since l' <= l <= 0,

    l' / lp(L)  <=  l / lp(L)  <=  l / lp(M)        (dividing a number that is not positive by more brings it nearer to 0).

So when s >= l / lp(M), nothing still to come can be better than the n already there, and the search ends; with alpha
= 0 lp is 1 and the bound is l itself. Stopping any earlier (at the first n endings, say) could lose a longer
hypothesis that the penalty favours; `patience` is for those who accept that.

**The end of the road.** After max_length tokens one more step is taken in which `eos` is accepted under the rule
above; what did not take it is cut: a hypothesis without `eos`, reason MAX_LENGTH. Cut hypotheses only fill up to n
behind the ones that ended by themselves, since they have not paid for their ending. The same holds for a request none
of whose hypotheses can go on (reason DEAD_END).

**Other searches.** A forced token is a row's only candidate, its log-prob that of the step's `query`. A request that samples,
or whose answer must hold phrases, has a `Chooser` that fills its places instead. After the prefix of a request for
alternatives each of its rows becomes a search of its own.

**Neighbours.** Every request is selected from its own row of a grid (requests, K, k); a wider neighbour adds places
that hold -inf and candidates that K better ones of the same row precede, so an answer never depends on who else is in
the batch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.chooser import Offer
from serving.decoding.constraints import Constraint
from serving.decoding.history import History
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.layout import Layout
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.penalties import penalise_repetition
from serving.decoding.request import Ending, Finished, Fork, Progress, Search
from serving.decoding.step import FloatArray, IntArray, StepInputs, StepOutputs

ScoreArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class SearchBatch:
    """The running searches of one model. A row is a live hypothesis; rows stand by search, then by rank in its beam."""

    def __init__(self, special: SpecialTokens) -> None:
        self._special = special
        self._joining: list[tuple[Search, int]] = []  # with the incoming state row each begins from
        self._state_rows = 0  # rows of the state that the next step will be given
        self._history = History()
        self._layout = Layout([], self._history.turn)
        # One entry a row.
        self._place: IntArray = np.zeros(0, np.int64)  # its place in the grid of all beams, search * widest + rank
        self._token: IntArray = np.zeros(0, np.int64)
        self._parent: IntArray = np.zeros(0, np.int64)
        self._log_prob: ScoreArray = np.zeros(0)  # accumulated, with the penalties for repetition
        # Of the step under way.
        self._bans: IntArray = np.zeros((0, 0), np.int64)
        self._query: IntArray = np.zeros(0, np.int64)

    @property
    def row_count(self) -> int:
        """Return R of the next step."""
        return len(self._token) + sum(search.first_rows for search, _ in self._joining)

    @property
    def request_count(self) -> int:
        """Return how many searches are running; those of one request's alternatives count each."""
        return len(self._layout.searches) + len(self._joining)

    @property
    def wants_attention(self) -> bool:
        """Say whether the next step must return its attention."""
        return bool(self._layout.attentive) or any(search.attentive for search, _ in self._joining)

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
            source_length: positions of its own source, to which attention is cut; read only where attention is needed.
        """
        assert options.special == self._special
        self._joining.append((Search(request, source, options, constraint, source_length), self._state_rows))
        self._state_rows += 1

    def remove(self, request: int) -> None:
        """Drop a request, whatever it has found; its rows are not in the next step. Does nothing when it is not running."""
        self._joining = [joining for joining in self._joining if joining[0].request != request]
        keep = np.array([search.request != request for search in self._layout.searches], np.bool_)
        if not keep.all():
            self._keep_rows(np.flatnonzero(keep[self._place // self._layout.widest]))
            self._resettle(
                [[search] * stays for search, stays in zip(self._layout.searches, keep.tolist(), strict=True)]
            )

    def stop(self, request: int) -> Finished:
        """Drop a request between two steps and return the best it has found so far; nothing before its first step."""
        found: list[Hypothesis] = []
        count, steps = 1, 0
        for index in self._searches_of(request):
            search = self._layout.searches[index]
            count = max(count, search.options.hypothesis_count)
            steps = self._history.turn - search.joined
            if search.fork is not None and not found:
                found += search.fork.found
                count += len(found)  # every further alternative adds itself
            rows = self._rows_of(index)
            last = self._parent[rows] - search.start  # where the rows were when attention was last recorded
            cut = [
                self._cut(search, row, steps - 1, rank, FinishReason.DEADLINE)
                for row, rank in zip(range(rows.start, rows.stop), last.tolist(), strict=True)
            ]
            found += self._answers(search, cut if steps else [])
        self.remove(request)
        return Finished(request, _best(found), steps)

    def progress(self, request: int) -> Progress:
        """Return how far a request has come, between two steps."""
        indices = self._searches_of(request)
        if not indices:
            return Progress((), 0)
        searches = [self._layout.searches[index] for index in indices]
        rows = slice(self._rows_of(indices[0]).start, self._rows_of(indices[-1]).stop)
        tokens = self._history.tokens(rows, searches[0].joined)  # (rows, t)
        shared = (tokens == tokens[:1]).all(axis=0)
        certain = len(shared) if shared.all() else int(shared.argmin())
        live = int(self._log_prob[rows].argmax())
        best = tokens[live].tolist()
        best_score = float(self._log_prob[rows][live]) / searches[0].length_penalty(max(1, len(best)))
        for score, ended in _ended(searches):
            certain = min(certain, _shared(best, ended))
            if score >= best_score:
                best, best_score = ended, score
        return Progress(tuple(best), certain)

    def inputs(self) -> StepInputs:
        """Return what the next step is to do, requests that joined included."""
        if self._joining:
            self._join()
        search_of_row = self._place // self._layout.widest
        self._bans, self._query = self._banned(search_of_row), self._queries()
        return StepInputs(
            token=self._token,
            parent=self._parent,
            source=self._layout.source[search_of_row],
            banned=self._bans,
            query=self._query,
            candidates=self._candidates(),
        )

    def select(self, outputs: StepOutputs) -> list[Finished]:
        """Take every request one token on, and return those whose search is over; their rows are gone.

        Args:
            outputs: of the step that `inputs()` described, nothing added or removed since; `attention` when `wants_attention`.
        """
        layout = self._layout
        for index in layout.attentive:
            assert outputs.attention is not None
            rows = self._rows_of(index)
            layout.searches[index].record(outputs.attention[rows], self._parent[rows], rows.start)

        # The beam of every search: the best K of all continuations, best first.             (searches, widest) from here on
        offer = self._offer(outputs)
        score, row, choice = self._best_continuations(offer.total)
        for index in layout.apart:
            score[index], row[index], choice[index] = self._chosen_apart(index, offer)
        token = offer.candidate[row, choice]
        log_prob = offer.log_prob[row, choice]

        # Those that end are finished; the others live on, except after the last token allowed.
        alive = layout.in_beam & (score > -np.inf)
        ending = alive & (token == self._special.eos)
        kept = alive & ~ending & (self._history.turn - layout.joined < layout.max_length)[:, None]
        for place in np.flatnonzero(ending).tolist():
            self._finish_hypothesis(place, float(score.flat[place]), int(row.flat[place]), float(log_prob.flat[place]))

        # A search is over when the best that can still come would not be better than what it has, or when its patience is.
        best_live = np.where(kept, score, -np.inf).max(axis=1, initial=-np.inf)
        over = layout.threshold >= best_live / layout.longest_penalty
        for index in layout.patient:
            over[index] |= layout.searches[index].ended >= layout.searches[index].most_endings
        finished = [self._finish_search(index) for index in np.flatnonzero(over).tolist()]
        kept[over] = False

        for index in layout.apart:
            chooser = layout.searches[index].chooser
            assert chooser is not None
            chooser.keep(np.flatnonzero(kept[index]))
        successors = self._forked(over, kept) if layout.forking else None
        places = np.flatnonzero(kept)
        self._advance(places, row.take(places), token.take(places), score.take(places), log_prob.take(places))
        if successors is not None:
            self._resettle(successors)
        elif finished or over.any():
            self._resettle([[search] * (not gone) for search, gone in zip(layout.searches, over.tolist(), strict=True)])
        return [answer for answer in finished if answer is not None]

    # ---- selection

    def _offer(self, outputs: StepOutputs) -> Offer:
        """Return the continuations to choose from: the step's candidates, required tokens, or the forced one alone."""
        layout = self._layout
        log_prob, candidate = outputs.log_prob, outputs.candidate
        if layout.asking:
            log_prob = np.column_stack((log_prob, self._asked(outputs)))
            candidate = np.column_stack((candidate, self._query))
        for index in layout.forced:
            rows, token = self._rows_of(index), self._forced_token(index)
            if token is not None:
                log_prob, candidate = log_prob.copy(), candidate.copy()
                log_prob[rows], log_prob[rows, 0] = -np.inf, outputs.query_log_prob[rows]
                candidate[rows, 0] = token
        adjusted = log_prob
        for index in layout.penalised:
            rows, search = self._rows_of(index), layout.searches[index]
            adjusted = adjusted.copy()
            adjusted[rows] = penalise_repetition(
                log_prob[rows],
                candidate[rows],
                self._history.tokens(rows, search.joined),
                search.options.repetition_penalty,
            )
        return Offer(log_prob, candidate, adjusted, self._log_prob[:, None] + adjusted)

    def _asked(self, outputs: StepOutputs) -> FloatArray:
        """Return the log-probs (R,) of required tokens; -inf where a row asks for none, has it already, or may not take it."""
        query = self._query[:, None]
        useless = (outputs.candidate == query).any(axis=1) | (self._bans == query).any(axis=1)
        asked = np.where(useless | (query[:, 0] == self._special.pad), np.float32(-np.inf), outputs.query_log_prob)
        asks = np.zeros(len(asked), np.bool_)
        for index in self._layout.asking:
            asks[self._rows_of(index)] = True
        return np.where(asks, asked, np.float32(-np.inf))

    def _best_continuations(self, total: ScoreArray) -> tuple[ScoreArray, IntArray, IntArray]:
        """Return the K best continuations of every search, (searches, widest): log-prob, row continued, which candidate of it.

        `total` is (R, k); what is not a number in it is set to -inf, and its search noted as faulty.
        """
        layout = self._layout
        if not np.maximum.reduce(total, axis=None) < np.inf:
            self._set_aside_faulty(total)
        rows, candidates = total.shape
        places = len(layout.searches) * layout.widest
        grid = total
        if rows < places:  # some beam is not full: its free places hold -inf
            grid = np.full((places, candidates), -np.inf)
            grid[self._place] = total
        grid = grid.reshape(len(layout.searches), layout.widest * candidates)
        # A stable sort keeps equal ones in the grid's order: the better parent, then its better candidate.
        order = (-grid).argsort(axis=1, kind="stable")[:, : layout.widest]
        position = order + layout.index * grid.shape[1]
        place, choice = np.divmod(position, candidates)
        if rows < places:
            row_of_place = np.zeros(places, np.int64)
            row_of_place[self._place] = np.arange(rows)
            place = row_of_place[place]
        return grid.take(position), place, choice

    def _chosen_apart(self, index: int, offer: Offer) -> tuple[ScoreArray, IntArray, IntArray]:
        """Return what a search's own chooser takes, (widest,) each: log-prob, row continued, which candidate of it."""
        search, rows = self._layout.searches[index], self._rows_of(index)
        assert search.chooser is not None
        columns = np.arange(min(self._candidates_of(search), offer.total.shape[1]))
        if search.phrases is not None:
            columns = np.append(columns, offer.total.shape[1] - 1)  # the required token
        own = Offer(
            offer.log_prob[rows][:, columns],
            offer.candidate[rows][:, columns],
            offer.adjusted[rows][:, columns],
            offer.total[rows][:, columns],
        )
        chosen = search.chooser.choose(self._history.turn - search.joined, own)
        score = np.full(self._layout.widest, -np.inf)
        row, choice = np.zeros((2, self._layout.widest), np.int64)
        count = len(chosen.row)
        score[:count] = own.total[chosen.row, chosen.choice]
        row[:count], choice[:count] = chosen.row + rows.start, columns[chosen.choice]
        return score, row, choice

    def _set_aside_faulty(self, total: ScoreArray) -> None:
        """Mark the searches that were given NaN or +inf, and let nothing follow from their rows."""
        faulty_rows = ~(total < np.inf).all(axis=1)
        for index in np.unique(self._place[faulty_rows] // self._layout.widest).tolist():
            self._layout.searches[index].faulty = True
            total[self._rows_of(index)] = -np.inf

    def _finish_hypothesis(self, place: int, log_prob: float, row: int, eos_log_prob: float) -> None:
        """Add what ended in `eos` at `place` to its search's finished hypotheses, if it is among the n best of them."""
        index = place // self._layout.widest
        search = self._layout.searches[index]
        step = self._history.turn - search.joined
        rank = row - self._rows_of(index).start
        score = search.score(log_prob, step + 1, rank)
        search.ended += 1
        if score > search.threshold:
            tokens, log_probs = self._history.of_row(row, search.joined)
            tokens.append(self._special.eos)
            log_probs.append(eos_log_prob)
            search.offer(Ending(score, tokens, log_probs, FinishReason.END_OF_SEQUENCE, step, rank))
            self._layout.threshold[index] = search.threshold

    def _finish_search(self, index: int) -> Finished | None:
        """Return what a search found, filled up with cut hypotheses; None while other alternatives of its request are searched."""
        search = self._layout.searches[index]
        step = self._history.turn - search.joined
        hypotheses: Sequence[Hypothesis] = ()
        if not search.faulty:
            ended_now = {ending.rank for ending in search.endings if ending.step == step}
            reason = FinishReason.MAX_LENGTH if step == search.options.max_length else FinishReason.DEAD_END
            rows = self._rows_of(index)
            live = [rank for rank in range(rows.stop - rows.start) if rank not in ended_now]
            needed = len(search.endings) < search.options.hypothesis_count
            cut = [self._cut(search, rows.start + rank, step, rank, reason) for rank in live] if needed else []
            hypotheses = self._answers(search, cut)
        if search.fork is None:
            return Finished(search.request, tuple(hypotheses), step + 1)
        fork = search.fork
        fork.running -= 1
        fork.found += hypotheses
        fork.faulty |= search.faulty
        if fork.running:
            return None
        return Finished(search.request, () if fork.faulty else _best(fork.found), step + 1)

    def _answers(self, search: Search, cut: Sequence[Ending]) -> list[Hypothesis]:
        """Return a search's hypotheses: those that ended, then the best of those that were cut, up to the number asked for."""
        best_first = sorted(cut, key=lambda ending: -ending.score)
        endings = [*search.endings, *best_first][: search.options.hypothesis_count]
        return [search.hypothesis(ending) for ending in endings]

    def _cut(self, search: Search, row: int, step: int, rank: int, reason: FinishReason) -> Ending:
        """Return a live hypothesis as it stands, without an end; `rank` is where its row was at `step`, the last one taken."""
        tokens, log_probs = self._history.of_row(row, search.joined)
        score = search.score(float(self._log_prob[row]), max(1, len(tokens)), rank)
        return Ending(score, tokens, log_probs, reason, step, rank)

    # ---- what the next step is told

    def _candidates(self) -> int:
        """Return k: the most that any request needs."""
        layout = self._layout
        return max([layout.candidates, *(self._candidates_of(layout.searches[index]) for index in layout.penalised)])

    def _candidates_of(self, search: Search) -> int:
        """Return how many candidates one request needs of each row; see `penalise_repetition`."""
        if search.options.repetition_penalty == 1:
            return search.candidates
        held = self._history.turn - search.joined
        return min(search.candidates + held, search.options.vocabulary_size)

    def _queries(self) -> IntArray:
        """Return the token (R,) whose log-prob each row needs: forced or required; `pad` where it needs none."""
        query = np.full(len(self._token), self._special.pad)
        for index in self._layout.asking:
            search = self._layout.searches[index]
            assert search.phrases is not None
            query[self._rows_of(index)] = search.phrases.queries(self._history.turn - search.joined)
        for index in self._layout.forced:
            token = self._forced_token(index)
            if token is not None:
                query[self._rows_of(index)] = token
        return query

    def _forced_token(self, index: int) -> int | None:
        """Return the token that a search must take next, whatever is banned."""
        search = self._layout.searches[index]
        step = self._history.turn - search.joined
        return search.forced[step] if step < len(search.forced) else None

    def _banned(self, search_of_row: IntArray) -> IntArray:
        """Return what each row may not take, (R, M): `eos` before the minimum length, and what its constraints say."""
        layout = self._layout
        blocks: list[tuple[slice, IntArray]] = []
        minimum = int(self._history.turn < layout.last_minimum)  # whether column 0 is for the minimum length
        for index in layout.constrained:
            search, rows = layout.searches[index], self._rows_of(index)
            parts = [] if search.phrases is None else [search.phrases.banned()]
            if search.constraint is not None:
                parts.append(search.constraint.banned(self._history.tokens(rows, search.joined)))
            blocks.append((rows, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)))
        width = minimum + max((block.shape[1] for _, block in blocks), default=0)
        banned = np.full((len(self._token), width), self._special.pad)
        if minimum:
            too_short = self._history.turn - layout.joined < layout.min_length
            banned[too_short[search_of_row], 0] = self._special.eos
        for rows, block in blocks:
            banned[rows, minimum : minimum + block.shape[1]] = block
        return banned

    def _rows_of(self, index: int) -> slice:
        """Return the rows of one search."""
        widest = self._layout.widest
        start, stop = self._place.searchsorted((index * widest, (index + 1) * widest)).tolist()
        return slice(start, stop)

    def _searches_of(self, request: int) -> list[int]:
        """Return the indices of a request's searches, which stand side by side; several only where it has alternatives."""
        return [index for index, search in enumerate(self._layout.searches) if search.request == request]

    # ---- who is in the batch

    def _join(self) -> None:
        """Give every request that was added its first rows."""
        searches = [search for search, _ in self._joining]
        first = len(self._layout.searches)
        search, rank = np.divmod(self._place, self._layout.widest)
        for joining in searches:
            joining.joined = self._history.turn
        self._layout = Layout([*self._layout.searches, *searches], self._history.turn)
        widest = self._layout.widest
        new = [(first + i) * widest + r for i, joining in enumerate(searches) for r in range(joining.first_rows)]
        parents = [row for joining, row in self._joining for _ in range(joining.first_rows)]
        self._place = np.concatenate((search * widest + rank, np.array(new, np.int64)))
        self._token = np.concatenate((self._token, np.full(len(new), self._special.bos)))
        self._parent = np.concatenate((self._parent, np.array(parents, np.int64)))
        self._log_prob = np.concatenate((self._log_prob, np.zeros(len(new))))
        self._history.add_rows(len(new))
        for joining, row in self._joining:
            joining.start = row
        self._joining = []

    def _forked(self, over: BoolArray, kept: BoolArray) -> list[list[Search]]:
        """Return what comes after each search: nothing where it is over, its alternatives after a prefix, else itself."""
        successors = [[search] * (not gone) for search, gone in zip(self._layout.searches, over.tolist(), strict=True)]
        for index in self._layout.forking:
            search = self._layout.searches[index]
            if successors[index] and self._history.turn - search.joined == len(search.options.prefix):
                count = int(kept[index].sum())
                fork = Fork(count, [search.hypothesis(ending) for ending in search.endings])
                successors[index] = [search.alternative(fork) for _ in range(count)]
        return successors

    def _advance(
        self, place: IntArray, row: IntArray, token: IntArray, score: ScoreArray, log_prob: FloatArray
    ) -> None:
        """Let the chosen continuations be the rows of the next step; all (R',)."""
        self._history.keep_rows(row)
        self._history.append(token, log_prob, self._layout.oldest)
        self._state_rows = len(self._token)
        self._place, self._parent, self._token, self._log_prob = place, row, token, score

    def _resettle(self, successors: Sequence[Sequence[Search]]) -> None:
        """Replace every search by what comes after it; of several, each takes one row."""
        search, rank = np.divmod(self._place, self._layout.widest)
        counts = np.array([len(after) for after in successors], np.int64)
        first = (counts.cumsum() - counts)[search]
        forked = counts[search] > 1
        if forked.any():
            number = np.arange(len(search)) - search.searchsorted(search)  # of the row within its search
            first, rank = np.where(forked, first + number, first), np.where(forked, 0, rank)
        self._layout = Layout([one for after in successors for one in after], self._history.turn)
        self._place = first * self._layout.widest + rank

    def _keep_rows(self, rows: IntArray) -> None:
        """Drop the other rows, between two steps."""
        self._history.keep_rows(rows)
        self._place, self._parent = self._place[rows], self._parent[rows]
        self._token, self._log_prob = self._token[rows], self._log_prob[rows]


def _best(hypotheses: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """Order hypotheses: those that ended by score, then the others."""
    ended = FinishReason.END_OF_SEQUENCE
    return tuple(sorted(hypotheses, key=lambda found: (found.finish_reason is not ended, -found.score)))


def _ended(searches: Sequence[Search]) -> list[tuple[float, list[int]]]:
    """Return the scores and tokens, without `eos`, of the hypotheses that have ended and may still be a request's best."""
    found = [(search.endings[0].score, search.endings[0].tokens[:-1]) for search in searches if search.endings]
    if searches[0].fork is not None:
        eos = searches[0].options.special.eos
        found += [(one.score, [token for token in one.tokens if token != eos]) for one in searches[0].fork.found]
    return found


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two hypotheses share from their beginning."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
