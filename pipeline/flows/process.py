"""One stage as a DVC process in its own process group, which can be ended with everything it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EXIT_USER_ERROR
from pipeline.flows.devices import Lease
from pipeline.flows.repair import CORRUPT, repair

LOGS = Path("logs") / "flow"
# Training writes a checkpoint when it is told to end.
SECONDS_TO_END = 20
SECONDS_BETWEEN_LOOKS = 0.1
# Another flow, or what a killed one left behind, is at the same stage: DVC and training say so, and give up.
BUSY = ("is busy, it is being blocked by", "another process trains this run now")
SECONDS_WHILE_BUSY = 3.0


class StageFailed(Exception):
    """A stage ended with an error. `again`: whether running it again may help (not for wrong settings)."""

    def __init__(self, line: str, again: bool) -> None:
        super().__init__(line)
        self.again = again


class Cancelled(Exception):
    """The flow is ending; no stage is started any more."""


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: whether DVC ran it, or found its outputs in the cache or unchanged."""

    ran: bool


class Processes:
    """The running stages of one flow.

    Args:
        root: the workspace they run in.
    """

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ending = threading.Event()
        self._lock = threading.Lock()

    def run(self, name: str, lease: Lease | None = None) -> Outcome:
        """Run one stage by DVC and wait for it, and before for another process that is at it; what it prints goes to
        its log.

        Raises `StageFailed`, or `Cancelled` if the flow ends.
        """
        while True:
            code, text = self.call(
                [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name],
                self.root / log_file(name),
                lease,
            )
            if not code:
                return Outcome(ran="Running stage" in text)
            if CORRUPT in text and repair(self.root):
                continue
            if not any(words in text for words in BUSY):
                raise StageFailed(_why(text, code), again=not _is_user_error(text))
            self._ending.wait(SECONDS_WHILE_BUSY)

    def call(self, command: Sequence[str], log: Path, lease: Lease | None = None) -> tuple[int, str]:
        """Run a command in the workspace until it ends; returns its exit code and what it wrote to `log`.

        Raises `Cancelled` if the flow ends.
        """
        # Another flow may be at the same stage, and has a log of its own until it ends.
        own = _own(log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with own.open("wb") as file:
            process = self._start(command, lease or Lease({}), file.fileno())
            try:
                code = process.wait()
            finally:
                self._ended(process)
        text = own.read_text(encoding="utf-8", errors="replace")
        os.replace(own, log)
        if self._ending.is_set():
            raise Cancelled(" ".join(command))
        return code, text

    def end(self) -> None:
        """End every running stage and what it started; start none any more."""
        with self._lock:
            self._ending.set()
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        until = time.monotonic() + SECONDS_TO_END
        for process in running:
            # Also where DVC has ended: what it started may still write its checkpoint.
            while _signal(process, 0) and time.monotonic() < until:
                process.poll()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            _signal(process, signal.SIGKILL)

    def _start(self, command: Sequence[str], lease: Lease, output: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ending.is_set():
                raise Cancelled(" ".join(command))
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env={**os.environ, **lease.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if lease.descriptor is None else (lease.descriptor,),
            )
            self._running.add(process)
        return process

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)


@contextmanager
def ending_at(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` when the process is told to stop, by Ctrl-C or by SIGTERM, while the block runs."""
    before = {number: signal.signal(number, lambda *_: end()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_file(name: str) -> Path:
    """Where the output of a stage is, below its workspace."""
    return LOGS / f"{name}.log"


def progress(log: Path) -> str:
    """The last line that a running stage printed, empty if there is none: training says there how much time is left."""
    with suppress(OSError), _own(log).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 400))
        lines = re.split(rb"[\r\n]+", file.read().strip())
        return lines[-1].decode(errors="replace").strip()[:120]
    return ""


def _own(log: Path) -> Path:
    return log.with_name(f"{log.stem}.{os.getpid()}{log.suffix}")


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether there is a process of the group to signal."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _is_user_error(text: str) -> bool:
    """Whether the stage's own command ended with the exit code for a user's error."""
    return re.search(rf"exited with {EXIT_USER_ERROR}\b", text) is not None


def _why(text: str, code: int) -> str:
    """The line that says best what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[A-Z]\w*(Error|Exception): ", line)][-1:]
    dvc = [line for line in lines if line.startswith("ERROR: ")]
    return (ours or raised or dvc or lines or [f"dvc ended with {code}"])[0]
