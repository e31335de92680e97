"""What an operator can choose of logs and traces."""

from dataclasses import dataclass
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from serving.errors import BadConfiguration

LogFormat = Literal["text", "json"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = get_args(LogFormat)


@dataclass(frozen=True)
class ObservationConfig:
    """How the server tells of its calls.

    Attributes:
        log_format: "text" for people, "json" for collectors of logs.
        log_calls: whether every call that is over gets a line.
        log_payloads: whether a call's line holds its request, shortened. Requests are people's texts and images.
        otlp_endpoint: where traces go, such as "http://collector:4317" (gRPC; https for TLS); "" makes none.
        trace_ratio: share of the calls that are traced, of those whose caller has not decided it: from 0 to 1.
    """

    log_format: LogFormat = "text"
    log_calls: bool = True
    log_payloads: bool = False
    otlp_endpoint: str = ""
    trace_ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.log_format not in LOG_FORMATS:
            raise BadConfiguration(f"log_format: {self.log_format}; allowed: {', '.join(LOG_FORMATS)}")
        if self.log_payloads and not self.log_calls:
            raise BadConfiguration("log_payloads: given with no log_calls, in whose lines they would be; allowed: both")
        if self.otlp_endpoint:
            parts = urlsplit(self.otlp_endpoint)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise BadConfiguration(
                    f"otlp_endpoint: {self.otlp_endpoint}; allowed: http://HOST:PORT, or https://HOST:PORT for TLS"
                )
        if not 0 <= self.trace_ratio <= 1:  # true of NaN too
            raise BadConfiguration(f"trace_ratio: {self.trace_ratio}; allowed: from 0 to 1")
