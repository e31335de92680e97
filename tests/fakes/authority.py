"""A certificate authority made with openssl, for tests that need more certificates than tests/fakes/tls.py has."""

import subprocess
from pathlib import Path
from typing import NamedTuple

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Pair(NamedTuple):
    """A certificate's file and that of its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; all files lie in one folder.

    Attributes:
        certificate: its own.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"
        self._openssl("req", "-x509", *CURVE, "-subj", f"/CN={name}", "-days", "30", "-keyout", self._key)

    def sign(self, name: str, *, extension: str = "subjectAltName=DNS:localhost") -> Pair:
        """Make a key and a certificate for it."""
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        extensions.write_text(extension)
        self._openssl("req", *CURVE, "-subj", f"/CN={name}", "-keyout", pair.key, out=request)
        signing = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
        self._openssl(
            *("x509", "-req", "-in", request, *signing, "-days", "30", "-extfile", extensions),
            out=pair.certificate,
        )
        return pair

    def _openssl(self, *arguments: str | Path, out: Path | None = None) -> None:
        command = ["openssl", *map(str, arguments), "-out", str(out or self.certificate)]
        subprocess.run(command, check=True, capture_output=True)
