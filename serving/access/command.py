"""`beamstep token`: makes, lists and revokes the API tokens of a server."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving.access.rights import RIGHTS
from serving.access.tokens import Token, TokenLimits, hash_of, make_token, read_tokens, write_tokens
from serving.errors import BadConfiguration


def token(
    name: Annotated[str, typer.Argument(help="Of whoever shall have the token; it stands in logs.")] = "",
    *,
    file: Annotated[Path, typer.Option(help="The server's --tokens; made where there is none.")] = Path("tokens.toml"),
    services: Annotated[str, typer.Option(help=f"What it may call: some of {','.join(RIGHTS)}.")] = "",
    rate: Annotated[float | None, typer.Option(help="Calls a second; without limit by default.")] = None,
    burst: Annotated[int | None, typer.Option(help="Calls at once after a rest; by default those of a second.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Calls at a time; without limit by default.")] = None,
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Its last day, in UTC; by default there is none.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the tokens instead.")] = False,
    revoke: Annotated[str, typer.Option(metavar="NAME", help="Take a token out of the file instead.")] = "",
) -> None:
    """Make an API token, print it this once, and add its hash to the server's file, which takes effect within a second."""
    try:
        _check_one_wish(name, listing, revoke)
        known = read_tokens(file) if file.exists() or listing or revoke else ()
        if listing:
            _print(known)
        elif revoke:
            _write(file, _without(known, revoke))
        else:
            _add(file, known, name, services, limits=TokenLimits(rate, burst, concurrent), expires=expires)
    except BadConfiguration as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _check_one_wish(name: str, listing: bool, revoke: str) -> None:
    if sum((bool(name), listing, bool(revoke))) != 1:
        raise BadConfiguration("arguments: several or none; allowed: one of NAME, --list, --revoke NAME")


def _add(
    file: Path, known: tuple[Token, ...], name: str, services: str, *, limits: TokenLimits, expires: datetime | None
) -> None:
    if any(token.name == name for token in known):
        raise BadConfiguration(f"name: {name}, which has a token already; allowed: another, or --revoke {name} first")
    rights = tuple(right.strip() for right in services.split(",") if right.strip())
    secret = make_token()
    entry = Token(name, hash_of(secret), rights, limits, expires.date() if expires else None)
    if entry.expires is not None and entry.expires < _today():
        raise BadConfiguration(f"expires: {entry.expires}; allowed: from today, {_today()}")
    _write(file, (*known, entry))
    Console(stderr=True).print(f"added {name} to {file}; the token is shown this once:", markup=False, soft_wrap=True)
    print(secret)


def _without(known: tuple[Token, ...], name: str) -> tuple[Token, ...]:
    kept = tuple(token for token in known if token.name != name)
    if len(kept) == len(known):
        names = ", ".join(token.name for token in known) or "none, the file has no tokens"
        raise BadConfiguration(f"revoke: {name}; allowed: {names}")
    return kept


def _write(file: Path, tokens: tuple[Token, ...]) -> None:
    try:
        write_tokens(file, tokens)
    except OSError as error:
        raise BadConfiguration(f"file: {file}: {error.strerror}; allowed: a file that can be written") from None


def _print(tokens: tuple[Token, ...]) -> None:
    """Print a line a token, as tools read them."""
    for token in tokens:
        limits = token.limits
        words = [token.name, ",".join(token.services)]
        if limits.rate is not None:
            words.append(f"rate {limits.rate:g}" + (f" burst {limits.burst}" if limits.burst is not None else ""))
        if limits.concurrent is not None:
            words.append(f"concurrent {limits.concurrent}")
        if token.expires is not None:
            words.append(f"{'expired after' if token.expires < _today() else 'expires after'} {token.expires}")
        print("\t".join(words))


def _today() -> date:
    return datetime.now(UTC).date()
