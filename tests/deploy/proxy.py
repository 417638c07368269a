"""The proxies of the compose file on this machine: their own configuration, with processes here for containers."""

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from local_stack.ports import LOOPBACK_OPENER, choose_free_block
from tests.stack.two_of_each import ServiceProcess

ROOT = Path(__file__).parent.parent.parent
HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
NEEDS_HAPROXY = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed (apt-get install haproxy)")
SEEN_TIMEOUT_SECONDS = 30.0


class Proxy:
    """A running HAProxy; `url` is its first port, of callers."""

    def __init__(self, port: int, operations_port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._metrics_url = f"http://127.0.0.1:{operations_port}/metrics"

    def wait_until(self, backend: str, number: int, state: str) -> None:
        """Return once the proxy has seen that server `number` of `backend` is in `state`, UP or DOWN."""
        line = f'haproxy_server_status{{proxy="{backend}",server="{backend}{number}",state="{state}"}} 1'
        deadline = time.monotonic() + SEEN_TIMEOUT_SECONDS
        while True:
            with contextlib.suppress(OSError), LOOPBACK_OPENER.open(self._metrics_url) as response:
                if line in response.read().decode():
                    return
            assert time.monotonic() < deadline, f"{backend}{number} did not become {state}"
            time.sleep(0.05)


@contextlib.contextmanager
def run_proxy(name: str, servers: Mapping[str, Sequence[ServiceProcess]], directory: Path) -> Iterator[Proxy]:
    """Run `deploy/<name>` in front of `servers`, the processes of each backend in the order of their numbers."""
    assert HAPROXY is not None
    port = choose_free_block(2)
    text = (ROOT / "deploy" / name / "haproxy.cfg").read_text()
    for backend, processes in servers.items():
        lines = [
            f"server {backend}{number} {each.url.removeprefix('http://')} port {each.ops_url.rpartition(':')[2]}"
            for number, each in enumerate(processes, 1)
        ]
        text, count = re.subn(rf"server-template {backend} .*", "\n    ".join(lines), text)
        assert count == 1
    text = re.sub(r"check port \d+ (.*) resolvers containers .*", r"check \1", text)
    text = re.sub(r"bind :808\d$", f"bind 127.0.0.1:{port}", text, flags=re.MULTILINE)
    text = text.replace("bind :8404", f"bind 127.0.0.1:{port + 1}")
    # No second try hides that a process was gone before the proxy knew.
    text = text.replace("option redispatch 1", "no option redispatch").replace("retries 3", "retries 0")
    configuration = directory / f"{name}.cfg"
    configuration.write_text(text)
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([HAPROXY, "-db", "-f", configuration], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Proxy(port, port + 1)
    finally:
        process.terminate()
        process.wait(10)
