"""Callers who create and complete plays all the time, each request repeated with its key until it is acknowledged."""

import http.client
import json
import threading
import time
import uuid
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

CLIENT = "demo-unlimited"
CALLERS = 2
REQUEST_TIMEOUT_SECONDS = 30.0
RETRY_PAUSE_SECONDS = 0.1
GIVE_UP_SECONDS = 180.0


class Caller:
    """One connection to the public host, made anew whenever it is lost."""

    def __init__(self, url: str, client: str = CLIENT) -> None:
        self._address = urlsplit(url).netloc
        self._client = client
        self._connection = http.client.HTTPConnection(self._address, timeout=REQUEST_TIMEOUT_SECONDS)
        self.token = ""

    def call(self, method: str, path: str, body: object = None, key: str = "") -> tuple[int, Any]:
        """Send one request; return status and document, or 0 and the fault's kind where there was no response."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if key:
            headers["Idempotency-Key"] = key
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self._connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            return 0, type(error).__name__

    def log_in(self) -> tuple[int, Any]:
        """Get a token, for the requests that follow."""
        secret = {"client_id": self._client, "client_secret": f"{self._client}-secret", "fingerprint": "trial"}
        status, document = self.call("POST", "/generate-client-auth-token", secret)
        if status == 200:
            self.token = document["data"]["access_token"]
        return status, document


class Load:
    """Callers at work between `start` and `stop`. `plays` are acknowledged, created and completed."""

    def __init__(self, url: str, callers: int = CALLERS) -> None:
        self._url = url
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._threads = [threading.Thread(target=self._call_all_day, daemon=True) for _ in range(callers)]
        self.plays = 0
        self.failures: Counter[str] = Counter()
        self.gave_up: list[str] = []

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller finish what it has begun."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_new(self, seconds: float) -> bool:
        """Wait until there are so many new plays that one of them was begun after this; tell whether there are."""
        with self._more:
            wanted = self.plays + len(self._threads) + 1
            return self._more.wait_for(lambda: self.plays >= wanted, seconds)

    def take_failures(self) -> dict[str, int]:
        """Return what failed since this was last asked, by status or fault, and forget it."""
        with self._lock:
            failures, self.failures = dict(self.failures), Counter()
        return failures

    def _call_all_day(self) -> None:
        caller = Caller(self._url)
        while not self._stop.is_set() and self._until(caller.log_in, 200):
            key = str(uuid.uuid4())
            body = {"planId": "plan-abc-123"}
            created = self._until(lambda: caller.call("POST", "/api/plan-plays", body, key), 201)  # noqa: B023
            if created is None:
                return
            path = f"/api/plan-plays/{created['data']['id']}"
            if self._until(lambda: caller.call("PATCH", path, {"status": "ended"}), 200) is None:  # noqa: B023
                return
            with self._more:
                self.plays += 1
                self._more.notify_all()

    def _until(self, ask: Any, wanted: int) -> Any:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            status, document = ask()
            if status == wanted:
                return document
            with self._lock:
                self.failures[str(status or document)] += 1
                if time.monotonic() > deadline:
                    self.gave_up.append(f"{status} {document}")
                    return None
            time.sleep(RETRY_PAUSE_SECONDS)
