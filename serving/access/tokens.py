"""API tokens and the file that has them: names, rights, limits, and hashes instead of the tokens themselves."""

import hashlib
import hmac
import json
import math
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from serving.access.files import read
from serving.access.rights import RIGHTS
from serving.errors import BadConfiguration

PREFIX: Final = "bst_"
"""Lets people, and scanners of repositories, see what a string is."""
TOKEN_BYTES: Final = 32
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HASH: Final = re.compile(r"[0-9a-f]{64}")
KEYS: Final = ("name", "sha256", "services", "rate", "burst", "concurrent", "expires")
HEADER: Final = """\
# API tokens of a Beamstep server (beamstep token --help). The hashes cannot be turned back into tokens.
# The server takes changes within a second.
"""


@dataclass(frozen=True)
class TokenLimits:
    """How much one token may ask for; None is no limit.

    Attributes:
        rate: calls a second, on average.
        burst: calls that may come at once after a rest; only with `rate`.
        concurrent: calls at a time.
    """

    rate: float | None = None
    burst: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True)
class Token:
    """An entry of the file.

    Attributes:
        name: of whoever has it; it stands in logs and metrics.
        sha256: of the token, as 64 hexadecimal digits.
        services: rights, of `RIGHTS`.
        limits: how much it may ask for.
        expires: the last day that it is good for, in UTC; None is for ever.
    """

    name: str
    sha256: str
    services: tuple[str, ...]
    limits: TokenLimits = TokenLimits()
    expires: date | None = None

    def __post_init__(self) -> None:
        _check(bool(NAME.fullmatch(self.name)), "name", self.name, "1 to 64 letters, digits, '.', '_' and '-'")
        _check(bool(HASH.fullmatch(self.sha256)), "sha256", self.sha256[:80], "64 hexadecimal digits, in lower case")
        unknown = [right for right in self.services if right not in RIGHTS]
        _check(bool(self.services) and not unknown, "services", ", ".join(unknown) or "none", ", ".join(RIGHTS))
        limits = self.limits
        if limits.rate is not None:
            _check(0 < limits.rate < math.inf, "rate", limits.rate, "calls a second, above 0")
        _check(limits.burst is None or limits.rate is not None, "burst", limits.burst, "only beside a rate")
        for key, value in (("burst", limits.burst), ("concurrent", limits.concurrent)):
            _check(value is None or value >= 1, key, value, "from 1")


def make_token() -> str:
    """Return a new token: 256 random bits, so that nobody guesses one."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: str) -> str:
    """Return what the file has of a token.

    Plain SHA-256: slow hashes protect passwords that people choose, of which there are few. Nobody tries 2^256 tokens, however
    fast, and a call must not wait for a slow hash.
    """
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def find(tokens: Iterable[Token], given: str) -> Token | None:
    """Return the entry of a token; the time it takes says nothing about how near a wrong one came, or to which."""
    hashed = hash_of(given)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, hashed):
            found = token  # and on to the last: no early end
    return found


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read a file of tokens.

    Raises:
        BadConfiguration: it cannot be read, is not TOML, or an entry is wrong; the message names it.
    """
    data = read("tokens", path)
    try:
        content = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"tokens: {path}: not TOML: {error}") from None
    try:
        return _tokens(content)
    except BadConfiguration as error:
        raise BadConfiguration(f"tokens: {path}: {error}") from None


def write_tokens(path: Path, tokens: Sequence[Token]) -> None:
    """Write a file of tokens that only its owner may read, whole or not at all."""
    text = HEADER + ("".join(map(_entry, tokens)) if tokens else "token = []\n")
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(draft).unlink()
        raise


def _tokens(content: Mapping[str, Any]) -> tuple[Token, ...]:
    unknown = [key for key in content if key != "token"]
    _check(not unknown, "file", ", ".join(unknown), "token alone")
    entries = content.get("token")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadConfiguration("token: none; allowed: [[token]] entries, or token = [] for none at all")
    tokens = []
    for place, entry in enumerate(entries):
        try:
            tokens.append(_token(entry))
        except BadConfiguration as error:
            raise BadConfiguration(f"token[{place}].{error}") from None
    for key in ("name", "sha256"):
        values = [getattr(token, key) for token in tokens]
        twice = next((value for value in values if values.count(value) > 1), None)
        _check(twice is None, key, f"{twice} twice", "one entry each")
    return tuple(tokens)


def _token(entry: Mapping[str, Any]) -> Token:
    unknown = [key for key in entry if key not in KEYS]
    if unknown:
        raise BadConfiguration(f"{unknown[0]}: unknown; allowed: {', '.join(KEYS)}")
    services = entry.get("services")
    if not isinstance(services, list):
        raise BadConfiguration(f"services: {services!r}; allowed: a list of {', '.join(RIGHTS)}")
    expires = entry.get("expires")
    if expires is not None and (not isinstance(expires, date) or isinstance(expires, datetime)):
        raise BadConfiguration(f"expires: {expires}; allowed: a date such as 2027-01-31, without quotes and time")
    rate = _number(entry, "rate", int | float)
    return Token(
        name=str(entry.get("name", "")),
        sha256=str(entry.get("sha256", "")),
        services=tuple(str(right) for right in services),
        limits=TokenLimits(rate, _number(entry, "burst", int), _number(entry, "concurrent", int)),
        expires=expires,
    )


def _number(entry: Mapping[str, Any], key: str, kind: Any) -> Any:
    value = entry.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
        raise BadConfiguration(f"{key}: {value!r}; allowed: a number{' without a fraction' if kind is int else ''}")
    return value


def _entry(token: Token) -> str:
    """Write an entry as TOML; JSON's strings and lists of them are TOML's too."""
    limits = token.limits
    lines = [
        "",
        "[[token]]",
        f"name = {json.dumps(token.name)}",
        f"sha256 = {json.dumps(token.sha256)}",
        f"services = {json.dumps(list(token.services))}",
    ]
    optional = {"rate": limits.rate, "burst": limits.burst, "concurrent": limits.concurrent, "expires": token.expires}
    lines += [f"{key} = {value}" for key, value in optional.items() if value is not None]
    return "\n".join(lines) + "\n"


def _check(good: bool, field: str, given: object, allowed: str) -> None:
    if not good:
        raise BadConfiguration(f"{field}: {given}; allowed: {allowed}")
