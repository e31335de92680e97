"""What an operator can choose of models at run time."""

import math
from dataclasses import dataclass, field
from typing import Final, Self

from serving.errors import BadConfiguration
from serving.repository.policy import VersionPolicy

MOST_IN_FLIGHT: Final = 8


@dataclass(frozen=True)
class CanaryShare:
    """A version that decodes a share of its model's requests a second time, off the critical path.

    Attributes:
        name: of the model.
        version: the one that is tried.
        share: of the requests that other versions of this name answer, from 0 to 1.
    """

    name: str
    version: str
    share: float

    def __post_init__(self) -> None:
        if not (self.name and self.version):
            raise BadConfiguration(f"canary: {self.key!r}; allowed: NAME/VERSION=SHARE")
        if not 0 <= self.share <= 1:  # true of NaN too
            raise BadConfiguration(f"canary: {self.key}={self.share:g}; allowed: a share from 0 to 1")

    @classmethod
    def parse(cls, given: str) -> Self:
        """Read NAME/VERSION=SHARE.

        Raises:
            BadConfiguration: it is none.
        """
        reference, _, share = given.rpartition("=")
        name, _, version = reference.partition("/")
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        if not (name and version) or math.isnan(number):
            raise BadConfiguration(f"canary: {given!r}; allowed: NAME/VERSION=SHARE, a share from 0 to 1")
        return cls(name, version, number)

    @property
    def key(self) -> str:
        """Return name and version in one string."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class RepositoryConfig:
    """How models come and go while the server runs.

    Attributes:
        versions: which versions are served.
        admin: whether AdminService is offered.
        watch: whether the folder is looked at again and again.
        watch_interval_s: seconds between two looks, from 0.1.
        canaries: at most one a name.
    """

    versions: VersionPolicy = field(default_factory=VersionPolicy)
    admin: bool = False
    watch: bool = False
    watch_interval_s: float = 2.0
    canaries: tuple[CanaryShare, ...] = ()

    def __post_init__(self) -> None:
        if not 0.1 <= self.watch_interval_s < math.inf:
            raise BadConfiguration(f"watch_interval_s: {self.watch_interval_s}; allowed: from 0.1")
        names = [canary.name for canary in self.canaries]
        for name in names:
            if names.count(name) > 1:
                raise BadConfiguration(f"canary: {name} is given twice; allowed: one version of each name")

    @property
    def changes(self) -> bool:
        """Say whether models may come and go."""
        return self.admin or self.watch

    def chosen(self, name: str, versions: set[str]) -> set[str]:
        """Return the versions of a model that are to be loaded at first; a canary stands beside those the policy chooses."""
        aside = {canary.version for canary in self.canaries if canary.name == name} & versions
        return self.versions.choose(name, versions - aside) | aside
