"""Errors named by who must act; gRPC statuses are assigned in servicers/status.py, not here."""


class BeamstepError(Exception):
    """Anything this package raises on purpose."""


class InvalidRequest(BeamstepError):  # noqa: N818 - named by what it is, STYLE.md section 4
    """The caller must change the request."""

    def __init__(self, field: str, given: str, allowed: str) -> None:
        super().__init__(f"{field}: {given}; allowed: {allowed}")
        self.field = field
        self.given = given
        self.allowed = allowed


class Unauthenticated(BeamstepError):  # noqa: N818
    """The caller must show who it is: no token came with the call, or none that is good."""


class Forbidden(BeamstepError):  # noqa: N818
    """The caller is known and may not do this; the operator may allow it."""


class UnknownModel(BeamstepError):  # noqa: N818
    """The caller named a model that is not loaded."""


class Overloaded(BeamstepError):  # noqa: N818
    """The queue is full: refused at once, retry later.

    Attributes:
        retry_after_s: when a place may be free; None where nothing is known.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Draining(BeamstepError):  # noqa: N818
    """Loading or shutting down: retry elsewhere."""


class Expired(BeamstepError):  # noqa: N818
    """The caller's own deadline passed while waiting or decoding, or cannot be met."""


class ModelFault(BeamstepError):  # noqa: N818
    """The model failed this request: it raised, or its log-probs are not numbers. The operator must look; nobody else's fault."""


class Refused(BeamstepError):  # noqa: N818
    """The models that are there do not allow it: the administrator must change that first, such as replace a bad bundle."""


class BadBundle(BeamstepError):  # noqa: N818
    """The operator must replace the bundle: a file is missing, altered or of an unknown format."""


class BadConfiguration(BeamstepError):  # noqa: N818
    """The operator must change an option or a setting."""
