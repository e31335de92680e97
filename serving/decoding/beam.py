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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.decoding import outcome, told
from serving.decoding.chooser import Offer
from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import FinishReason
from serving.decoding.layout import Layout
from serving.decoding.offers import offer
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.request import Ending, Finished, Fork, Progress, Search
from serving.decoding.rows import Rows
from serving.decoding.step import IntArray, StepInputs, StepOutputs

ScoreArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Beams(NamedTuple):
    """The continuations chosen for every search, (searches, widest) each: a search's K best, best first, where it is plain.

    Attributes:
        total: their accumulated log-probs; -inf in places that stay free.
        position: which of the offer's (R, k) they are, counted through.
    """

    total: ScoreArray
    position: IntArray


class SearchBatch:
    """The running searches of one model."""

    def __init__(self, special: SpecialTokens) -> None:
        self._special = special
        self._joining: list[tuple[Search, int]] = []  # with the incoming state row each begins from
        self._state_rows = 0  # rows of the state that the next step will be given
        self._layout = Layout.empty()
        self._rows = Rows()
        self._told: StepInputs | None = None  # of the step under way
        self._nothing: IntArray = np.zeros(0, np.int64)

    @property
    def row_count(self) -> int:
        """Return R of the next step."""
        return len(self._rows) + sum(search.first_rows for search, _ in self._joining)

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
            self._rows.keep(np.flatnonzero(keep[self._rows.place // self._layout.widest]))
            self._drop(~keep)

    def stop(self, request: int) -> Finished:
        """Drop a request between two steps and return the best it has found so far; nothing before its first step."""
        indices = self._searches_of(request)
        own = [(self._layout.searches[index], self._rows.of(index, self._layout.widest)) for index in indices]
        finished = outcome.stop(request, own, self._rows)
        self.remove(request)
        return finished

    def progress(self, request: int) -> Progress:
        """Return how far a request has come, between two steps."""
        indices = self._searches_of(request)
        if not indices:
            return Progress((), 0)
        widest = self._layout.widest
        rows = slice(self._rows.of(indices[0], widest).start, self._rows.of(indices[-1], widest).stop)
        return outcome.progress([self._layout.searches[index] for index in indices], self._rows, rows)

    def inputs(self) -> StepInputs:
        """Return what the next step is to do, requests that joined included."""
        if self._joining:
            self._join()
        layout, rows = self._layout, self._rows
        full = rows.place is layout.every_place
        self._told = StepInputs(
            token=rows.token,
            parent=rows.parent,
            source=layout.source_of_place if full else layout.source_of_place.take(rows.place),
            banned=told.banned(layout, rows, self._special),
            query=self._queries(),
            candidates=told.candidates(layout, rows.history.turn),
        )
        return self._told

    def select(self, outputs: StepOutputs) -> list[Finished]:
        """Take every request one token on, and return those whose search is over; their rows are gone.

        Args:
            outputs: of the step that `inputs()` described, nothing added or removed since; `attention` when `wants_attention`.
        """
        layout, rows = self._layout, self._rows
        assert self._told is not None
        if layout.attentive:
            assert outputs.attention is not None
            oldest = layout.searches[layout.attentive[0]].joined
            rows.trail.record(rows.history.turn, outputs.attention, rows.parent, oldest)
            for index in layout.covered:
                own = rows.of(index, layout.widest)
                layout.searches[index].cover(outputs.attention[own], rows.parent[own], own.start)

        # The beam of every search: the best K of all continuations, best first.             (searches, widest) from here on
        offered = offer(layout, rows, self._told, outputs, self._special)
        chosen = self._best_continuations(offered.total)
        for index in layout.apart:
            self._choose_apart(index, offered, chosen)
        token = offered.candidate.take(chosen.position)

        # Those that end are finished; the others live on, except after the last token allowed.
        kept, live = self._survivors(offered, chosen, token)

        # A search is over when the best that can still come would not be better than what it has.
        over = layout.threshold >= live / layout.longest_penalty
        finished: list[Finished] = []
        if np.count_nonzero(over):
            finished = self._finish(over)
            kept[over] = False

        for index in layout.apart:
            chooser = layout.searches[index].chooser
            assert chooser is not None
            chooser.keep(np.flatnonzero(kept[index]))
        forked = self._forks(kept) if layout.forking else {}
        self._advance(offered, chosen, token, kept)
        if forked:
            self._fork(over, forked)
        elif np.count_nonzero(over):
            self._drop(over)
        return finished

    def _queries(self) -> IntArray:
        """Return the tokens (R,) that rows ask for; where nobody asks, the same array of `pad` again and again."""
        if self._layout.asking or self._layout.forced:
            return told.queries(self._layout, self._rows, self._special)
        count = len(self._rows)
        if count > len(self._nothing):
            self._nothing = np.full(2 * count, self._special.pad)
        return self._nothing[:count]

    # ---- selection

    def _best_continuations(self, total: ScoreArray) -> Beams:
        """Return the K best continuations of every search, `total` being (R, k).

        What is not a number in `total` is set to -inf, and its search noted as faulty.
        """
        layout, place = self._layout, self._rows.place
        if not np.maximum.reduce(total, axis=None) < np.inf:
            self._set_aside_faulty(total)
        rows, candidates = total.shape
        places = len(layout.searches) * layout.widest
        grid = total
        if rows < places:  # some beam is not full: its free places hold -inf
            grid = np.full((places, candidates), -np.inf)
            grid[place] = total
        grid = grid.reshape(len(layout.searches), layout.widest * candidates)
        # A stable sort keeps equal ones in the grid's order: the better parent, then its better candidate.
        order = (-grid).argsort(axis=1, kind="stable")[:, : layout.widest]
        position = order if len(layout.searches) == 1 else order + layout.offset(candidates)
        best = grid.take(position)
        if rows < places:
            row_of_place = np.zeros(places, np.int64)
            row_of_place[place] = np.arange(rows)
            of_place, choice = np.divmod(position, candidates)
            position = row_of_place.take(of_place) * candidates + choice
        if layout.narrowest < layout.widest:
            best[~layout.in_beam] = -np.inf
        return Beams(best, position)

    def _choose_apart(self, index: int, offered: Offer, chosen: Beams) -> None:
        """Fill a search's places with what its own chooser takes."""
        search, own = self._layout.searches[index], self._rows.of(index, self._layout.widest)
        assert search.chooser is not None
        turn, width = self._rows.history.turn, offered.total.shape[1]
        columns = np.arange(min(told.candidates_of(search, turn), width))
        if search.phrases is not None:
            columns = np.append(columns, width - 1)  # the required token
        row, choice = search.chooser.choose(
            turn - search.joined,
            Offer(
                offered.log_prob[own][:, columns],
                offered.candidate[own][:, columns],
                offered.adjusted[own][:, columns],
                offered.total[own][:, columns],
            ),
        )
        position = (own.start + row) * width + columns[choice]
        chosen.total[index] = -np.inf
        chosen.total[index, : len(position)] = offered.total.take(position)
        chosen.position[index, : len(position)] = position
        if search.options.sampling is not None:
            outcome.lose(search, self._rows, own, np.flatnonzero(chosen.total[index, : len(position)] == -np.inf))

    def _set_aside_faulty(self, total: ScoreArray) -> None:
        """Mark the searches that were given NaN or +inf, and let nothing follow from their rows."""
        faulty_rows = ~(total < np.inf).all(axis=1)
        for index in np.unique(self._rows.place[faulty_rows] // self._layout.widest).tolist():
            self._layout.searches[index].faulty = True
            total[self._rows.of(index, self._layout.widest)] = -np.inf

    def _survivors(self, offered: Offer, chosen: Beams, token: IntArray) -> tuple[BoolArray, ScoreArray]:
        """Finish what ends in `eos`; return which places live on, and each search's best total among them, (searches,)."""
        layout, turn = self._layout, self._rows.history.turn
        alive = chosen.total > -np.inf
        ending = token == self._special.eos
        limited = turn >= layout.first_limit
        if not limited and not layout.apart and not np.count_nonzero(ending):
            return alive, chosen.total[:, 0]  # best first: the best of all that live on
        ending &= alive
        for place in np.flatnonzero(ending).tolist():
            self._finish_hypothesis(place, offered, chosen)
        kept = alive & ~ending
        if limited:
            kept &= (turn < layout.limit)[:, None]
        return kept, np.where(kept, chosen.total, -np.inf).max(axis=1)

    def _finish_hypothesis(self, place: int, offered: Offer, chosen: Beams) -> None:
        """Add what ended in `eos` at `place` to its search's finished hypotheses, if it is among the n best of them."""
        layout, rows = self._layout, self._rows
        index = place // layout.widest
        search = layout.searches[index]
        row, choice = divmod(int(chosen.position.flat[place]), offered.candidate.shape[1])
        step = rows.history.turn - search.joined
        score = search.score(float(chosen.total.flat[place]), step + 1, row)
        search.ended += 1
        if score > search.threshold:
            tokens, log_probs = rows.history.of_row(row, search.joined)
            tokens.append(self._special.eos)
            log_probs.append(float(offered.log_prob[row, choice]))
            search.offer(Ending(score, tokens, log_probs, FinishReason.END_OF_SEQUENCE, step, row))
            layout.threshold[index] = search.threshold
        if search.ended >= search.most_endings:
            layout.threshold[index] = np.inf  # its patience is over: nothing to come is good enough

    def _finish(self, over: BoolArray) -> list[Finished]:
        """Return what the requests found whose search is over."""
        layout, rows = self._layout, self._rows
        indices = np.flatnonzero(over).tolist()
        answers = [outcome.finish(layout.searches[index], rows, rows.of(index, layout.widest)) for index in indices]
        return [answer for answer in answers if answer is not None]

    def _advance(self, offered: Offer, chosen: Beams, token: IntArray, kept: BoolArray) -> None:
        """Let the continuations that are kept, (searches, widest), be the rows of the next step."""
        layout, rows = self._layout, self._rows
        self._state_rows = len(rows)
        if np.count_nonzero(kept) == kept.size:
            places, position = layout.every_place, chosen.position.ravel()
            token, total = token.ravel(), chosen.total.ravel()
        else:
            places = np.flatnonzero(kept)
            position = chosen.position.take(places)
            token, total = token.take(places), chosen.total.take(places)
        rows.advance(
            place=places,
            row=position // offered.candidate.shape[1],
            token=token,
            total=total,
            log_prob=offered.log_prob.take(position),
            oldest=layout.oldest,
        )

    # ---- who is in the batch

    def _searches_of(self, request: int) -> list[int]:
        """Return the indices of a request's searches, which stand side by side; several only where it has alternatives."""
        return [index for index, search in enumerate(self._layout.searches) if search.request == request]

    def _join(self) -> None:
        """Give every request that was added its first rows."""
        searches = [search for search, _ in self._joining]
        first = len(self._layout.searches)
        for search, row in self._joining:
            search.joined, search.start = self._rows.history.turn, row
        self._settle(self._layout.with_more(searches), *np.divmod(self._rows.place, self._layout.widest))
        widest = self._layout.widest
        place = [(first + i) * widest + r for i, search in enumerate(searches) for r in range(search.first_rows)]
        parent = [row for search, row in self._joining for _ in range(search.first_rows)]
        self._rows.add(np.array(place, np.int64), np.array(parent, np.int64), self._special.bos)
        self._joining = []

    def _forks(self, kept: BoolArray) -> dict[int, list[Search]]:
        """Return the alternatives of the searches that are past their prefix, by index."""
        forks = {}
        for index in self._layout.forking:
            search, count = self._layout.searches[index], int(np.count_nonzero(kept[index]))
            if count and self._rows.history.turn - search.joined == len(search.options.prefix):
                fork = Fork(count, [search.hypothesis(ending, self._rows.trail) for ending in search.endings])
                forks[index] = [search.alternative(fork) for _ in range(count)]
        return forks

    def _fork(self, over: BoolArray, forks: dict[int, list[Search]]) -> None:
        """Put alternatives in the place of their searches, a row each, and forget the searches that are over."""
        layout = self._layout
        successors = [
            forks.get(index, [search] * (not gone))
            for index, (search, gone) in enumerate(zip(layout.searches, over.tolist(), strict=True))
        ]
        search, rank = np.divmod(self._rows.place, layout.widest)
        counts = np.array([len(after) for after in successors], np.int64)
        forked = np.isin(search, list(forks))
        number = np.arange(len(search)) - search.searchsorted(search)  # of the row within its search
        first = (counts.cumsum() - counts)[search]
        settled = Layout.empty().with_more([one for after in successors for one in after])
        self._settle(settled, np.where(forked, first + number, first), np.where(forked, 0, rank))

    def _drop(self, over: BoolArray) -> None:
        """Forget searches whose rows are gone already."""
        if over.all():
            self._layout = Layout.empty()
            return
        search, rank = np.divmod(self._rows.place, self._layout.widest)
        keep = ~over
        self._settle(self._layout.only(keep), (keep.cumsum() - 1).take(search), rank)

    def _settle(self, layout: Layout, search: IntArray, rank: IntArray) -> None:
        """Go on with another layout, in which the rows belong to `search` at `rank`, (R,) each."""
        self._layout = layout
        self._rows.place = search * layout.widest + rank
