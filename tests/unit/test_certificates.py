"""TLS files are tried before they serve, and broken ones name the option and never replace good ones."""

import logging
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serving.access.certificates import WatchedCertificates, load_certificates
from serving.access.config import AccessConfig
from serving.command import serve
from serving.errors import BadConfiguration
from tests.fakes.authority import Authority
from tests.fakes.tls import CERTIFICATE, EXPIRED, KEY


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files by name: good, other and client pairs, an authority, and every way to be wrong."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    good = authority.sign("good")
    authority.sign("other")
    authority.sign("client", extension="extendedKeyUsage=clientAuth")
    (folder / "expired.pem").write_bytes(EXPIRED)
    (folder / "expired.key").write_bytes(KEY)
    (folder / "text.pem").write_text("hello")
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nabcd\n-----END CERTIFICATE-----\n")
    locked = ["openssl", "pkcs8", "-topk8", "-in", good.key, "-out", folder / "locked.key", "-passout", "pass:secret"]
    subprocess.run(locked, check=True, capture_output=True)
    return folder


def test_good_files_are_taken(folder):
    config = AccessConfig(folder / "good.pem", folder / "good.key", folder / "authority.pem")
    loaded = load_certificates(config)
    assert loaded.certificate == (folder / "good.pem").read_bytes()
    assert loaded.client_ca == (folder / "authority.pem").read_bytes()


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "message"),
    [
        ("none.pem", "good.key", None, "tls_cert: .*none.pem: No such file"),
        ("text.pem", "good.key", None, "tls_cert: .*text.pem: no CERTIFICATE in PEM"),
        ("broken.pem", "good.key", None, "tls_cert: .*broken.pem: no certificate in PEM"),
        ("expired.pem", "expired.key", None, "tls_cert: .*expired.pem: certificate has expired"),
        ("client.pem", "client.key", None, "tls_cert: .*client.pem: unsuitable certificate purpose"),
        ("good.pem", "other.key", None, "tls_key: .*other.key: not the key of .*good.pem"),
        ("good.pem", "none.key", None, "tls_key: .*none.key: No such file"),
        ("good.pem", "good.pem", None, "tls_key: .*good.pem: no PRIVATE KEY in PEM"),
        ("good.pem", "locked.key", None, "tls_key: .*locked.key: cannot be used .*without a password"),
        ("good.pem", "good.key", "none.pem", "tls_client_ca: .*none.pem: No such file"),
        ("good.pem", "good.key", "text.pem", "tls_client_ca: .*text.pem: no certificates in PEM"),
        ("good.pem", "good.key", "good.pem", "tls_client_ca: .*good.pem: no certificate of an authority"),
    ],
)
def test_bad_files_are_refused_by_the_option_that_names_them(folder, certificate, key, client_ca, message):
    config = AccessConfig(folder / certificate, folder / key, client_ca and folder / client_ca)
    with pytest.raises(BadConfiguration, match=f"^{message}"):
        load_certificates(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tls_cert": Path("a")}, "tls_key: none beside tls_cert"),
        ({"tls_key": Path("a")}, "tls_cert: none beside tls_key"),
        ({"tls_client_ca": Path("a")}, "tls_client_ca: given without tls_cert"),
    ],
)
def test_options_that_need_each_other(options, message):
    with pytest.raises(BadConfiguration, match=f"^{message}"):
        AccessConfig(**options)


def test_files_that_change_are_taken_once_they_are_whole(folder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    config = AccessConfig(tmp_path / "a.pem", tmp_path / "a.key")
    for name in ("good.pem", "good.key"):
        shutil.copy(folder / name, tmp_path / f"a.{name[-3:]}")
    watched = WatchedCertificates(config)
    first = watched.latest
    assert watched.refresh() is None
    (tmp_path / "a.pem").write_bytes(CERTIFICATE)  # its key comes a moment later
    assert watched.refresh() is None
    assert watched.latest == first
    assert "the ones before go on: tls_key: " in caplog.text
    (tmp_path / "a.key").write_bytes(KEY)
    taken = watched.refresh()
    assert taken is not None
    assert (taken.certificate, watched.latest) == (CERTIFICATE, taken)
    (tmp_path / "a.pem").unlink()
    assert watched.refresh() is None
    assert "tls_cert: " in caplog.text


def test_a_half_set_of_options_ends_the_command_with_a_sentence(folder):
    app = typer.Typer()
    app.command()(serve)
    done = CliRunner().invoke(app, ["--tls-cert", str(folder / "good.pem")])
    assert done.exit_code == 2
    assert "error: tls_key: none beside tls_cert; allowed: the file of that certificate's key" in done.stderr
