"""`beamstep admin`: which models a server has, loading and unloading them, and versions on trial."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from beamstep.call_options import Connection, split_model, with_options
from beamstep.failures import BAD_INPUT, failure, failures
from beamstep.output import output_console

if TYPE_CHECKING:
    from beamstep.v1.admin_pb2 import Canary, RepositoryModel

admin = typer.Typer(help="Load, unload and try models on a server that was started with --admin.", no_args_is_help=True)

OptionalVersion = Annotated[str, typer.Argument(metavar="NAME[/VERSION]", help="By default the latest version.")]
Version = Annotated[str, typer.Argument(metavar="NAME/VERSION")]
Trial = Annotated[str, typer.Argument(metavar="[NAME/VERSION=SHARE]", help="SHARE is from 0 to 1.")]


@admin.command()
@with_options(Connection)
def status(call: Connection) -> None:
    """List every version that is there, and where it stands."""
    from beamstep import rendering

    with failures(call.address), call.client() as client:
        answer = client.admin.list_repository()
        if call.as_json:
            rendering.print_json(answer)
            return
        table = Table(*(Column(name, overflow="fold") for name in ("model", "state", "reason")), box=None)
        for model in answer.models:
            table.add_row(*map(Text, (f"{model.name}/{model.version}", _state(model), model.reason)))
        output_console().print(table)


@admin.command()
@with_options(Connection)
def load(model: OptionalVersion, call: Connection) -> None:
    """Load a version, or its new content, and wait until it is served."""
    with failures(call.address), call.client() as client:
        _print(call, client.admin.load_model(*split_model(model)))


@admin.command()
@with_options(Connection)
def unload(model: Version, call: Connection) -> None:
    """Take a version out of service; calls that were taken are still answered."""
    with failures(call.address), call.client() as client:
        _print(call, client.admin.unload_model(*split_model(model)))


@admin.command()
@with_options(Connection)
def canary(
    call: Connection,
    trial: Trial = "",
    end: Annotated[
        str, typer.Option(metavar="NAME", help="End this model's trial: its version serves as any other from now on.")
    ] = "",
) -> None:
    """Let a version decode a share of its model's requests a second time; without a version, say what was found so far."""
    from beamstep import rendering

    with failures(call.address), call.client() as client:
        if trial and end:
            raise failure("--end: given with a trial to begin; allowed: one of them", BAD_INPUT)
        if trial:
            canaries = [client.admin.set_canary(*_trial(trial))]
        elif end:
            canaries = [client.admin.clear_canary(end)]
        else:
            canaries = list(client.admin.list_canaries().canaries)
        for one in canaries:
            rendering.print_json(one) if call.as_json else output_console().print(_told(one), soft_wrap=True)
        if not canaries and not call.as_json:
            rendering.print_note("no version is on trial")


def _trial(given: str) -> tuple[str, str, float]:
    reference, _, share = given.rpartition("=")
    try:
        return *split_model(reference), float(share)
    except ValueError:
        raise failure(f"canary: {given}; allowed: NAME/VERSION=SHARE", BAD_INPUT) from None


def _print(call: Connection, model: "RepositoryModel") -> None:
    from beamstep import rendering

    if call.as_json:
        rendering.print_json(model)
    else:
        output_console().print(Text(f"{model.name}/{model.version} is {_state(model)}"), soft_wrap=True)


def _state(model: "RepositoryModel") -> str:
    from beamstep.v1.admin_pb2 import ModelState

    if model.state not in ModelState.values():
        return str(model.state)  # of a newer server
    return ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()


def _told(canary: "Canary") -> Text:
    """Say what a trial found, in one paragraph."""
    told = f"{canary.name}/{canary.version} decodes {canary.share:.0%} of the requests of {canary.name} a second time: "
    told += f"{canary.chosen_count} so far, {canary.compared_count} compared, {canary.dropped_count} dropped, "
    told += f"{canary.error_count} failed"
    if canary.compared_count:
        told += f"\nthe same best answer: {canary.identical_count / canary.compared_count:.1%}"
        told += f", the same token: {canary.same_token_count / max(1, canary.token_count):.1%}"
        means = (
            1000 * total.ToTimedelta().total_seconds() / canary.compared_count
            for total in (canary.primary_duration, canary.canary_duration)
        )
        told += "\nmean time: {:.1f} ms as sent, {:.1f} ms the second time, waiting for other work included".format(
            *means
        )
    if canary.last_error:
        told += f"\nlast failure: {canary.last_error}"
    return Text(told)
