"""What an operator can choose about load: who counts as one client, limits of single models, and caches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from serving.errors import BadConfiguration
from serving.scheduler import Limits

LIMIT_NAMES: Final[Mapping[str, str]] = {
    "max_rows": "batch_rows",
    "max_concurrent": "batch_sources",
    "queue": "waiting_requests",
}
"""What an operator calls a limit, and its field of `Limits`."""


@dataclass(frozen=True)
class LoadConfig:
    """How load is shared, bounded and saved.

    Attributes:
        share_by: the metadata key that says whom a request is for; "" takes the token's name or the peer's address.
        model_limits: limits that differ from the server's, by a bundle's name: fields of `Limits` and their values.
        answer_cache_bytes: how much the cache of answers may hold; 0 is none.
        memory_cache_bytes: how much the cache of encoder memory may hold; 0 is none.
    """

    share_by: str = ""
    model_limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    answer_cache_bytes: int = 0
    memory_cache_bytes: int = 0

    def __post_init__(self) -> None:
        key = self.share_by
        if key and (not key.isascii() or key != key.lower() or not key.replace("-", "").replace("_", "").isalnum()):
            raise BadConfiguration(f"share_by: {key}; allowed: a key of gRPC metadata, such as x-client-id")
        if key.endswith("-bin"):
            raise BadConfiguration(f"share_by: {key}; allowed: a key of text, which does not end in -bin")
        for name in ("answer_cache_bytes", "memory_cache_bytes"):
            if getattr(self, name) < 0:
                raise BadConfiguration(f"{name}: {getattr(self, name)}; allowed: from 0, which is off")

    def limits_of(self, name: str, limits: Limits) -> Limits:
        """Return the limits of a bundle by its name, `limits` being the server's."""
        return replace(limits, **self.model_limits.get(name, {}))

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse limits for a bundle that is not among `names`."""
        for name in self.model_limits:
            if name not in names:
                raise BadConfiguration(f"limits: {name}; allowed: some of {', '.join(dict.fromkeys(names))}")


def parse_limits(given: Sequence[str]) -> dict[str, dict[str, int]]:
    """Read NAME:LIMIT=NUMBER[,LIMIT=NUMBER...], one a model.

    Raises:
        BadConfiguration: one of them is written otherwise, names another limit or a number below 1, or comes twice.
    """
    limits: dict[str, dict[str, int]] = {}
    allowed = f"NAME:LIMIT=NUMBER[,...], a limit being one of {', '.join(LIMIT_NAMES)} and a number from 1"
    for each in given:
        name, _, settings = each.partition(":")
        pairs = [setting.partition("=") for setting in settings.split(",")]
        if not name or not all(key.strip() in LIMIT_NAMES and _is_count(value) for key, _, value in pairs):
            raise BadConfiguration(f"limits: {each}; allowed: {allowed}")
        found = {LIMIT_NAMES[key.strip()]: int(value) for key, _, value in pairs}
        if name in limits or len(found) < len(pairs):
            raise BadConfiguration(f"limits: {each}; allowed: each model once, each of its limits once")
        limits[name] = found
    return limits


def cache_bytes(name: str, mebibytes: float) -> int:
    """Return a size in bytes; 0 is off.

    Raises:
        BadConfiguration: it is below 0, or no finite number.
    """
    if not (math.isfinite(mebibytes) and mebibytes >= 0):
        raise BadConfiguration(f"{name}: {mebibytes}; allowed: a finite number from 0, which is off")
    return round(mebibytes * 2**20)


def _is_count(written: str) -> bool:
    text = written.strip()
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1
