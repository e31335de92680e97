"""Questions and answers over stdin and stdout, a JSON object a line; the other end is `benchmarks.peers.other_process`.

Standard library only: both ends import it.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def answer_questions(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer `{"ask": NAME, **arguments}` with `{"answer": ...}`, or with `{"error": ...}` and go on, until stdin ends.

    Whatever else the process prints goes to stderr, so that no library's message is taken for an answer.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        out.write(json.dumps(_answer(handlers, json.loads(line))) + "\n")


def _answer(handlers: Mapping[str, Callable[..., Any]], question: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": handlers[question.pop("ask")](**question)}
    except Exception as error:  # the other end raises it
        return {"error": f"{type(error).__name__}: {error}"}
