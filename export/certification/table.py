"""Certificates as tables for people: a row a figure, a column a certificate."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from serving.manifest import Certificate, SpeedRatio, TokenAgreement

NOT_MEASURED: Final = "not measured"


def certificate_table(certificates: Sequence[Certificate]) -> Table:
    """Return a table to print."""
    table = Table("certificate", *map(_title, certificates), box=None, header_style="bold")
    for name, *cells in certificate_rows(certificates):
        table.add_row(name, *map(Text, cells))
    return table


def certificate_rows(certificates: Sequence[Certificate]) -> Iterator[tuple[str, ...]]:
    """Yield every figure's name and its value in each certificate; rows in which nothing was measured are left out."""
    for name, cell in _figures(certificates):
        cells = [cell(one) for one in certificates]
        if any(cell != NOT_MEASURED for cell in cells):
            yield (name, *cells)


def certificate_titles(certificates: Sequence[Certificate]) -> list[str]:
    """Return the heads of the columns."""
    return [_title(one) for one in certificates]


def _figures(certificates: Sequence[Certificate]) -> Iterator[tuple[str, Callable[[Certificate], str]]]:
    """Yield the rows: a name, and what it is in a certificate."""
    yield "verdict", lambda one: "passed" if one.passed else "; ".join(one.faults)
    yield "measured on", lambda one: one.inputs
    yield "largest tensor error", lambda one: _error(one.tensor_error)
    for beam_size in sorted({tokens.beam_size for one in certificates for tokens in one.tokens}):
        search = "greedy" if beam_size == 1 else f"beam {beam_size}"
        yield f"{search}: identical alone / in a batch", _of_tokens(beam_size, _shares)
        yield f"{search}: margin where not, largest / median", _of_tokens(beam_size, _margins)
    yield "metric: PyTorch / served", _metric
    yield (
        "change by neighbours",
        lambda one: NOT_MEASURED if one.neighbours_error is None else f"{one.neighbours_error:.1e}",
    )
    for name in sorted({_work(ratio) for one in certificates for ratio in one.speed}):
        yield f"speed against fp32, {name[1]}", _speed_of(name)
    yield "machine", lambda one: one.machine
    yield "created", lambda one: one.created


def _error(error: float | None) -> str:
    return NOT_MEASURED if error is None else f"{error:.1e}"


def _of_tokens(beam_size: int, text: Callable[[TokenAgreement], str]) -> Callable[[Certificate], str]:
    return lambda one: next((text(tokens) for tokens in one.tokens if tokens.beam_size == beam_size), NOT_MEASURED)


def _shares(tokens: TokenAgreement) -> str:
    return f"{100 * tokens.identical_alone:.1f} % / {100 * tokens.identical_in_batch:.1f} %"


def _margins(tokens: TokenAgreement) -> str:
    if tokens.largest_margin is None or tokens.median_margin is None:
        return "all identical"
    return f"{tokens.largest_margin:.2g} / {tokens.median_margin:.2g}"


def _metric(certificate: Certificate) -> str:
    change = certificate.metric
    return NOT_MEASURED if change is None else f"{change.metric} {change.pytorch:.4g} / {change.served:.4g}"


def _work(ratio: SpeedRatio) -> tuple[int, str]:
    """Name what was timed, with a number to order names by: encodings first, then steps, each from few to many."""
    if ratio.rows is None:
        return ratio.sources or 0, f"encoding {ratio.sources}"
    return 1000 + ratio.rows, f"a step of {ratio.rows} rows"


def _speed_of(work: tuple[int, str]) -> Callable[[Certificate], str]:
    def cell(one: Certificate) -> str:
        return next((f"{ratio.times_faster:.2f}" for ratio in one.speed if _work(ratio) == work), NOT_MEASURED)

    return cell


def _title(certificate: Certificate) -> str:
    return f"{certificate.precision} on {certificate.provider}"
