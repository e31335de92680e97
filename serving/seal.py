"""The seal of manifest.json: a hash of its content, so that a slip of the hand does not pass for what an export measured.

It is no signature: whoever can write the folder can seal it anew (`beamstep verify --seal`).
"""

import hashlib
import json
from typing import Any, Final

from serving.errors import BadBundle
from serving.manifest import Manifest

SEAL: Final = "seal"
"""The key of manifest.json beside those of `Manifest`."""


def sealed(manifest: Manifest) -> str:
    """Return the text of manifest.json."""
    content = json.loads(manifest.model_dump_json())
    return json.dumps(content | {SEAL: seal_of(content)}, indent=2, ensure_ascii=False) + "\n"


def seal_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the content, whatever the order of its keys and its white space."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def unsealed(content: dict[str, Any]) -> dict[str, Any]:
    """Check the seal and return the content without it.

    Raises:
        BadBundle: there is none, or it is of another content; the message does not name the file.
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    if SEAL not in content:
        raise BadBundle(
            f"{SEAL}: missing; `beamstep verify --seal` completes and seals a manifest that was written by hand"
        )
    if content[SEAL] != seal_of(rest):
        raise BadBundle(f"{SEAL}: its content is not what was sealed: truncated, altered, or edited by hand")
    return rest
