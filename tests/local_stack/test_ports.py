"""What is asked on the loopback address goes there, whatever the shell says."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from local_stack.ports import LOOPBACK, LOOPBACK_OPENER


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer((LOOPBACK, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_shell_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, server: http.server.HTTPServer, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with LOOPBACK_OPENER.open(f"http://{LOOPBACK}:{server.server_port}/", timeout=5) as response:
        assert response.status == 204
