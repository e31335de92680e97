"""The description as a page for people: plain HTML, nothing loaded from anywhere."""

from html import escape
from typing import Any, Final

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
code, pre { font: 14px/1.4 ui-monospace, monospace } h2 { margin-top: 2.5rem } td, th { text-align: left; vertical-align: top;
padding: .2rem 1rem .2rem 0 } table { border-collapse: collapse } tr { border-bottom: 1px solid #8884 } .verb { font-weight: bold }
"""


def render(description: dict[str, Any]) -> bytes:
    """Return an OpenAPI description as an HTML page, in UTF-8."""
    information = description["info"]
    parts = [f"<h1>{escape(information['title'])}</h1>", _paragraph(information["description"])]
    parts.append('<p>For programs: <a href="openapi.json">openapi.json</a>.</p>')
    for path, verbs in description["paths"].items():
        for verb, operation in verbs.items():
            parts += _operation(path, verb, operation)
    parts.append("<h1>Messages</h1>")
    for name, schema in description["components"]["schemas"].items():
        parts += _schema(name, schema)
    head = f'<meta charset="utf-8"><title>{escape(information["title"])}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'.encode()


def _operation(path: str, verb: str, operation: dict[str, Any]) -> list[str]:
    parts = [f'<h2><span class="verb">{verb.upper()}</span> <code>{escape(path)}</code></h2>']
    parts.append(_paragraph(operation.get("description") or operation["summary"]))
    rows = [(f"{each['name']} ({each['in']})", escape(each["description"])) for each in operation["parameters"]]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append((f"body, {kind}", _type(content["schema"])))
    for http, response in operation["responses"].items():
        kinds = ", ".join(f"{escape(kind)} {_type(each['schema'])}" for kind, each in response["content"].items())
        rows.append((http, f"{escape(response['description'])} {kinds}"))
    return [*parts, _table(rows)]


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    rows = [
        (field, f"{_type(each)} {escape(each.get('description', ''))}")
        for field, each in schema.get("properties", {}).items()
    ]
    return [
        f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2>',
        _paragraph(schema["description"]),
        _table(rows),
    ]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    if schema.get("type") == "array":
        return f"array of {_type(schema['items'])}"
    return f"<code>{escape(str(schema.get('format') or schema.get('type', '')))}</code>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>".replace("\n", "<br>")


def _table(rows: list[tuple[str, str]]) -> str:
    """Return a table; the left cells are text, the right ones HTML."""
    cells = "".join(f"<tr><th><code>{escape(left)}</code></th><td>{right}</td></tr>" for left, right in rows)
    return f"<table>{cells}</table>"
