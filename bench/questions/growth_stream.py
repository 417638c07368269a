"""How much memory does streaming a list of a million plays take, of the whole process, above what it has at rest?"""

import re
import threading
import time
import urllib.request
from pathlib import Path

from bench.bulk import make_plays
from bench.creating import issue_tokens
from bench.finding import Claim, Curve, Finding, Plot
from bench.product import send
from bench.question import Effort, Question
from bench.stage import Stage
from local_stack.ports import LOOPBACK_OPENER

PLAYS = 1_000_000
QUICK_PLAYS = 50_000
CLIENT = "client-1"
TARGET_MEGABYTES = 32.0
SAMPLE_SECONDS = 0.1
PIECE_BYTES = 1 << 20
CLOSING_CHARACTERS = 100
RESET_PEAK = "5"
"""What /proc/PID/clear_refs takes to forget the peak so far: proc(5)."""


def ask(stage: Stage, effort: Effort) -> Finding:
    """Stream the whole list a few times from one process, which has answered one request before."""
    finding, plays = Finding(), QUICK_PLAYS if effort.is_quick else PLAYS
    product = stage.start_product("catalog", "activity")
    make_plays(product, plays, clients=1)
    [token] = issue_tokens(product, [CLIENT])
    url, pid = product.url("activity"), product.servers["activity"].pid
    # No load before: what that leaves allocated would be used again, and hide what a list takes.
    send("GET", f"{url}/api/plan-plays?limit=1", bearer=token)
    idle = _read_megabytes(pid, "VmRSS")
    above, curves, rates, after = [], [], [], idle
    for number in range(1, effort.rounds + 1):
        Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)
        with _Samples(pid) as samples:
            begun = time.monotonic()
            closing = _stream(f"{url}/api/plan-plays", token)
            rates.append(plays / (time.monotonic() - begun))
        above.append(_read_megabytes(pid, "VmHWM") - idle)
        after = _read_megabytes(pid, "VmRSS")
        curves.append(Curve(f"list {number}", samples.seconds, samples.megabytes))
        if not closing.endswith(f'],"count":{plays}}}'):
            finding.faults.append(f"the list of {plays:,} plays ended in {closing[-40:]!r}")
    finding.claims.append(Claim(f"MB above idle at the peak, {plays:,} plays", above, TARGET_MEGABYTES, at_most=True))
    finding.notes.append(
        f"Resident: {idle:.1f} MB before the first list, {idle + max(above):.1f} at the peak, {after:.1f} after the "
        f"last. {min(rates):,.0f} to {max(rates):,.0f} plays a second to one reader."
    )
    finding.plot = Plot("seconds", "MB resident", curves)
    return finding


class _Samples:
    """The memory of a process over time; for the plot. The peak is the kernel's own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.seconds: list[float] = []
        self.megabytes: list[float] = []

    def __enter__(self) -> "_Samples":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        begun = time.monotonic()
        while not self._stop.wait(SAMPLE_SECONDS):
            self.seconds.append(round(time.monotonic() - begun, 2))
            self.megabytes.append(_read_megabytes(self._pid, "VmRSS"))


def _read_megabytes(pid: int, name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _stream(url: str, token: str) -> str:
    """Read all of a list and answer its last characters."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    closing = b""
    with LOOPBACK_OPENER.open(request, timeout=60) as response:
        while piece := response.read(PIECE_BYTES):
            closing = (closing + piece)[-CLOSING_CHARACTERS:]
    return closing.decode(errors="replace")


QUESTION = Question(
    "growth_stream",
    "Memory of the process while it streams a list of 1,000,000 plays",
    ask,
    in_quick=False,
    in_full=False,
)
"""Asked by name (`make bench-growth`): the rows alone take a while to make."""
