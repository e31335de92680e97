"""Why an export stops."""


class ExportError(Exception):
    """The export cannot go on, and nothing was published; the message says what was found and what is needed."""


class ParityError(ExportError):
    """The exported graphs do not give PyTorch's answers."""
