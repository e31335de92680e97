"""Who may make a call, by the token that came with it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from serving.access.allowance import Allowance
from serving.access.files import stamp_of
from serving.access.rights import ALL, OPEN, right_of
from serving.access.tokens import Token, find, read_tokens
from serving.errors import BadConfiguration, BeamstepError, Forbidden, Unauthenticated

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often the file is looked at, as long as calls come."""
REFUSAL: Final = "a valid API token is needed, as metadata authorization: Bearer TOKEN"
"""The same for no token, a wrong one and one that is no more."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one call.

    Attributes:
        principal: the name of its token; "" where there is none.
        error: why it is refused; None lets it in.
        allowance: what its running counts against; None where nothing does.
    """

    principal: str = ""
    error: BeamstepError | None = None
    allowance: Allowance | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the call while it runs.

        Raises:
            Overloaded: too many calls of its token run already.
        """
        if self.allowance is None:
            yield
        else:
            with self.allowance.running():
                yield


class Gate:
    """Judges calls by the tokens of a file, which is read again when it changes; for one event loop."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        """Read the file.

        Raises:
            BadConfiguration: see `read_tokens`.
        """
        self._path = path
        self._clock = clock
        self._today = today
        self._allowances: dict[str, Allowance] = {}
        self._stamp = stamp_of(path)
        self._take(read_tokens(path))
        self._looked = clock()

    def judge(self, method: str, authorization: str | None) -> Verdict:
        """Say whether a call may be made, and count it where it may.

        Args:
            method: as gRPC has it, such as "/beamstep.v1.TranslationService/TranslateText".
            authorization: the metadata of that name; None where there is none.
        """
        right = right_of(method)
        if right == OPEN:
            return Verdict()
        self._look()
        scheme, _, given = (authorization or "").partition(" ")
        token = find(self._tokens, given.strip())
        if token is None or scheme.lower() != "bearer":
            return Verdict(error=Unauthenticated(REFUSAL))
        if token.expires is not None and self._today() > token.expires:
            return Verdict(token.name, Unauthenticated(f"the token {token.name} expired after {token.expires}"))
        if right not in token.services and ALL not in token.services:
            return Verdict(token.name, Forbidden(f"the token {token.name} lacks the right to {right}"))
        allowance = self._allowances[token.name]
        try:
            allowance.take()
        except BeamstepError as error:
            return Verdict(token.name, error)
        return Verdict(token.name, allowance=allowance)

    def _look(self) -> None:
        """Take the file's new content, if it has one; a broken file leaves the tokens as they were."""
        now = self._clock()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._take(read_tokens(self._path))
        except BadConfiguration as error:
            logger.warning("the tokens have changed, but the ones before go on: %s", error)
        else:
            logger.info("took the new tokens of %s: %d", self._path, len(self._tokens))

    def _take(self, tokens: tuple[Token, ...]) -> None:
        for token in tokens:
            known = self._allowances.get(token.name)
            if known is None:
                self._allowances[token.name] = Allowance(token.name, token.limits, self._clock)
            else:
                known.limits = token.limits
        names = {token.name for token in tokens}
        self._allowances = {name: each for name, each in self._allowances.items() if name in names}
        self._tokens = tokens
