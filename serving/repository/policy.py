"""Which versions of each model are served: a pure function of those that are there."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from serving.bundle import version_order
from serving.errors import BadConfiguration

ALLOWED: Final = "all, latest:N with N from 1, or specific:NAME=VERSION,...;NAME=..."


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a model are served.

    Attributes:
        latest: so many of the latest; None is all of them.
        specific: these versions of these names; a name that is not in it is served in all its versions.
    """

    latest: int | None = None
    specific: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: str) -> Self:
        """Read a policy as `--versions` gives it.

        Raises:
            BadConfiguration: it is none.
        """
        kind, _, rest = given.partition(":")
        if given == "all":
            return cls()
        if kind == "latest" and rest.isdecimal() and int(rest) >= 1:
            return cls(latest=int(rest))
        if kind == "specific":
            pairs = [part.partition("=") for part in rest.split(";") if part.strip()]
            specific = {name.strip(): _versions(versions) for name, _, versions in pairs}
            if specific and len(specific) == len(pairs) and all(specific) and all(specific.values()):
                return cls(specific=specific)
        raise BadConfiguration(f"versions: {given!r}; allowed: {ALLOWED}")

    def choose(self, name: str, versions: Collection[str]) -> set[str]:
        """Return those of the versions of a model that are to be served."""
        if name in self.specific:
            return set(self.specific[name]).intersection(versions)
        latest_first = sorted(versions, key=version_order, reverse=True)
        return set(latest_first[: self.latest])

    def check(self, there: Mapping[str, Collection[str]]) -> None:
        """Check the names and versions that are asked for against those that are there.

        Raises:
            BadConfiguration: one is missing.
        """
        for name, versions in self.specific.items():
            if name not in there:
                raise BadConfiguration(f"versions: {name}; allowed: some of {', '.join(sorted(there))}")
            for version in versions:
                if version not in there[name]:
                    listed = ", ".join(sorted(there[name], key=version_order))
                    raise BadConfiguration(f"versions: {name}={version}; allowed: some of {listed}")


def _versions(listed: str) -> tuple[str, ...]:
    return tuple(version.strip() for version in listed.split(",") if version.strip())
