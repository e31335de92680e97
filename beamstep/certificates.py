"""Certificates as tables for people: a row a figure, a column a certificate."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from beamstep.v1.model_pb2 import Certificate, SpeedRatio, TokenAgreement

NOT_MEASURED: Final = "not measured"


def certificate_table(certificates: Sequence["Certificate"]) -> Table:
    """Return a table to print."""
    head, *rows = certificate_rows(certificates)
    table = Table(*head, box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def certificate_rows(certificates: Sequence["Certificate"]) -> Iterator[tuple[str, ...]]:
    """Yield the heads of the columns, then every figure with its value in each certificate, but for those measured in none."""
    yield ("certificate", *(f"{one.precision} on {one.execution_provider}" for one in certificates))
    for name, cell in _figures(certificates):
        cells = [cell(one) for one in certificates]
        if any(cell != NOT_MEASURED for cell in cells):
            yield (name, *cells)


def _figures(certificates: Sequence["Certificate"]) -> Iterator[tuple[str, Callable[["Certificate"], str]]]:
    """Yield the rows: a name, and what it is in a certificate."""
    yield "verdict", lambda one: "passed" if one.passed else f"failed: {'; '.join(one.faults)}"
    yield "measured on", lambda one: one.inputs
    yield "largest tensor error", lambda one: _error(one, "tensor_error")
    for beam_size in sorted({tokens.beam_size for one in certificates for tokens in one.token_agreements}):
        search = "greedy" if beam_size == 1 else f"beam {beam_size}"
        yield f"{search}: identical alone / in a batch", _of_tokens(beam_size, _shares)
        yield f"{search}: margin where not, largest / median", _of_tokens(beam_size, _margins)
    yield "metric: PyTorch / served", _metric
    yield "change by rows beside it", lambda one: _error(one, "neighbours_error")
    yield "change by sources encoded beside it", lambda one: _error(one, "padding_error")
    for work in sorted({_work(ratio) for one in certificates for ratio in one.speed_ratios}):
        yield f"times faster than fp32, {work[1]}", _speed_of(work)
    yield "machine", lambda one: one.machine
    yield "created", lambda one: one.create_time


def _error(certificate: "Certificate", field: str) -> str:
    return f"{getattr(certificate, field):.1e}" if certificate.HasField(field) else NOT_MEASURED


def _of_tokens(beam_size: int, text: Callable[["TokenAgreement"], str]) -> Callable[["Certificate"], str]:
    def cell(one: "Certificate") -> str:
        return next((text(tokens) for tokens in one.token_agreements if tokens.beam_size == beam_size), NOT_MEASURED)

    return cell


def _shares(tokens: "TokenAgreement") -> str:
    return f"{100 * tokens.identical_alone_share:.1f} % / {100 * tokens.identical_in_batch_share:.1f} %"


def _margins(tokens: "TokenAgreement") -> str:
    if tokens.HasField("median_margin"):
        return f"{tokens.largest_margin:.2g} / {tokens.median_margin:.2g}"
    return f"{tokens.largest_margin:.2g}" if tokens.HasField("largest_margin") else "all identical"


def _metric(certificate: "Certificate") -> str:
    change = certificate.metric_change
    if not certificate.HasField("metric_change"):
        return NOT_MEASURED
    return f"{change.metric} {change.pytorch_value:.4g} / {change.served_value:.4g}"


def _work(ratio: "SpeedRatio") -> tuple[int, str]:
    """Name what was timed, with a number to order names by: encodings first, then steps, each from few to many."""
    if ratio.HasField("source_count"):
        return ratio.source_count, f"encoding {ratio.source_count}"
    return 1000 + ratio.row_count, f"a step of {ratio.row_count} rows"


def _speed_of(work: tuple[int, str]) -> Callable[["Certificate"], str]:
    def cell(one: "Certificate") -> str:
        return next((f"{ratio.times_faster:.2f}" for ratio in one.speed_ratios if _work(ratio) == work), NOT_MEASURED)

    return cell
