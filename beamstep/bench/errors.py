"""What can be wrong with what a user of `beamstep bench` gave, or with a server that it started."""


class BadInput(ValueError):  # noqa: N818 - named by what it is, STYLE.md section 4
    """An option or a file must change; the message says which, what was given and what is allowed."""


class ServerFailed(Exception):  # noqa: N818 - as above
    """A server of --serve did not start or did not stop as it should; the message has its last words."""


class GeneratorFailed(Exception):  # noqa: N818 - as above
    """A process that sends requests ended before it had told what came of them."""
