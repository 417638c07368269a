"""The public proxy over TLS: what each answer says, and its certificate changed as the page on rotation says."""

import http.client
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local_stack.ports import choose_free_block
from tests.deploy.proxy import HAPROXY, NEEDS_HAPROXY, ROOT

pytestmark = [pytest.mark.system, NEEDS_HAPROXY]

TIMEOUT_SECONDS = 20.0


def write_certificate(file: Path, host: str) -> None:
    """Write certificate and private key, one after the other, as `secrets/proxy/tls.pem` has them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)


class TlsProxy:
    """`deploy/proxy` with nobody behind it: it answers by itself."""

    reread: Callable[[], None]
    """Has it read its certificate again."""

    def __init__(self, directory: Path) -> None:
        self.port = choose_free_block(2)
        self.certificate = directory / "tls.pem"
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        text = (ROOT / "deploy" / "proxy" / "haproxy.cfg").read_text()
        text = text.replace("/run/secrets/tls.pem", str(self.certificate))
        text = text.replace("bind :8080", f"bind 127.0.0.1:{self.port}")
        text = text.replace("bind :8404", f"bind 127.0.0.1:{self.port + 1}")
        (directory / "haproxy.cfg").write_text(text)

    def ask(self, path: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=self._context)
        try:
            connection.request("POST", path, headers=headers or {})
            response = connection.getresponse()
            response.read()
            return response
        finally:
            connection.close()

    def host(self) -> str:
        """Return whose certificate it shows."""
        shown = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", self.port)).encode())
        return str(shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def wait_until(is_so: Callable[[], bool], ask: Callable[[], None] = lambda: None) -> None:
    """Return once it is so; `ask` for it meanwhile, again and again: a master that has just begun hears no signal."""
    deadline, asked = time.monotonic() + TIMEOUT_SECONDS, 0.0
    while True:
        if time.monotonic() > asked + 1:
            asked = time.monotonic()
            ask()
        try:
            if is_so():
                return
        except OSError:
            pass  # not there yet
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[TlsProxy]:
    assert HAPROXY is not None
    made = TlsProxy(tmp_path)
    write_certificate(made.certificate, "first.example")
    with (tmp_path / "log").open("wb") as log:
        # As its image starts it: a master, which SIGUSR2 has read everything again, and a worker.
        process = subprocess.Popen(
            [HAPROXY, "-W", "-db", "-f", tmp_path / "haproxy.cfg"],
            env={**os.environ, "TLS": "yes"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        made.reread = lambda: process.send_signal(signal.SIGUSR2)
        try:
            wait_until(lambda: made.host() == "first.example")
            yield made
        finally:
            process.terminate()
            process.wait(10)


def test_every_answer_over_tls_says_to_stay_with_it_also_those_that_the_proxy_gives_itself(proxy: TlsProxy) -> None:
    nobody_there = proxy.ask("/api/plan-plays")
    too_large = proxy.ask("/get-plans", {"Content-Length": "70000"})
    assert [each.status for each in (nobody_there, too_large)] == [503, 413]
    for answer in (nobody_there, too_large):
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_certificate_is_changed_by_a_signal_and_one_that_cannot_be_read_changes_nothing(proxy: TlsProxy) -> None:
    write_certificate(proxy.certificate, "second.example")
    assert proxy.host() == "first.example"
    wait_until(lambda: proxy.host() == "second.example", proxy.reread)
    proxy.certificate.write_text("no certificate")
    log = proxy.certificate.with_name("log")
    wait_until(lambda: "unable to load certificate" in log.read_text(), proxy.reread)
    assert proxy.host() == "second.example"
    assert proxy.ask("/api/plan-plays").status == 503
