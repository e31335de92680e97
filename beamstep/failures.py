"""What the command says when something goes wrong, and its exit status."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from beamstep.pictures.file import BadPicture, NoPictures
from beamstep.points import BadPoints

OTHER: Final = 1
BAD_INPUT: Final = 2
UNREACHABLE: Final = 3


@contextmanager
def failures(address: str) -> Iterator[None]:
    """Turn whatever a user can cause into one sentence on stderr and an exit status."""
    from beamstep.errors import InvalidRequest, Overloaded, ServiceError, Unavailable, UnknownModel

    try:
        yield
    except UnicodeError:
        raise failure("the input is not UTF-8 text", BAD_INPUT) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed at exit
        raise typer.Exit(OTHER) from None  # whoever read the output, such as head, has enough of it
    except OSError as error:
        if error.filename is None:
            raise failure(f"cannot write the output: {error.strerror}", OTHER) from None
        raise failure(f"{error.filename}: {error.strerror}", BAD_INPUT) from None
    except (InvalidRequest, UnknownModel, BadPoints, BadPicture) as error:
        raise failure(str(error), BAD_INPUT) from None
    except Unavailable as error:
        raise failure(f"no server is ready at {address}: {error}", UNREACHABLE) from None
    except Overloaded as error:
        wait = "" if error.retry_after_s is None else f" (there may be room in {error.retry_after_s:.2g} s)"
        raise failure(f"{error}{wait}", OTHER) from None
    except (ServiceError, NoPictures) as error:
        raise failure(str(error), OTHER) from None


def failure(message: str, status: int) -> typer.Exit:
    """Say in one sentence what is wrong; raise what is returned to end with the status."""
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    return typer.Exit(status)
