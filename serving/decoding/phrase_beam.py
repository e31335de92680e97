"""Beam search for one request whose answer must hold phrases; see phrases.py."""

import numpy as np

from serving.decoding.chooser import Chosen, Offer
from serving.decoding.options import DecodingOptions
from serving.decoding.phrases import Progress, RequiredPhrases, share_out
from serving.decoding.step import IntArray


class PhraseBeam:
    """The `chooser.Chooser` of one request with required phrases: knows how far each of its rows has come with them.

    A row is offered its best candidates, and the next required token as one more: its `query`.
    """

    def __init__(self, required: RequiredPhrases, options: DecodingOptions) -> None:
        self._required = required
        self._options = options
        progress, completed = required.after(options.prefix)
        self._progress = [progress]
        self._completed = [completed]  # a phrase, by the last token
        self._chosen: list[tuple[Progress, bool]] = []

    def queries(self, step: int) -> IntArray:
        """Return the token that each row is to be offered, `pad` where nothing is missing."""
        pad = self._options.special.pad
        tokens = [self._required.next_token(progress, step) for progress in self._progress]
        return np.array([pad if token is None else token for token in tokens], np.int64)

    def banned(self) -> IntArray:
        """Return `eos` for rows that lack a phrase, and what would go on with the word of a phrase just completed; (rows, M)."""
        special = self._options.special
        continuing = self._required.continuing if any(self._completed) else ()
        banned = np.full((len(self._progress), 1 + len(continuing)), special.pad)
        for row, (progress, completed) in enumerate(zip(self._progress, self._completed, strict=True)):
            if not self._required.complete(progress):
                banned[row, 0] = special.eos
            if completed:
                banned[row, 1:] = continuing
        return banned

    def choose(self, step: int, offer: Offer) -> Chosen:
        """Share out the beam by how many required tokens each continuation holds; ties as in plain beam search."""
        row, choice = np.nonzero(offer.total > -np.inf)
        if step < len(self._options.forced):
            self._chosen = [(self._progress[0], self._completed[0])] * len(row)
            return Chosen(row, choice)
        token = offer.candidate[row, choice].tolist()
        before = [self._progress[at] for at in row.tolist()]
        after = [self._required.advance(progress, chosen) for progress, chosen in zip(before, token, strict=True)]
        held = np.array([self._required.tokens_held(progress) for progress, _ in after], np.int64)
        best = share_out(offer.total[row, choice], held, self._options.beam_size)
        self._chosen = [after[at] for at in best.tolist()]
        return Chosen(row[best], choice[best])

    def keep(self, places: IntArray) -> None:
        """Go on with the progress of the rows that do."""
        self._progress = [self._chosen[place][0] for place in places.tolist()]
        self._completed = [self._chosen[place][1] for place in places.tolist()]

    def holding(self) -> list[int]:
        """Return the rows that lack no phrase."""
        return [row for row, progress in enumerate(self._progress) if self._required.complete(progress)]
