"""One stage as a DVC process in its own process group, which can be ended with everything it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EXIT_USER_ERROR

LOGS = Path("logs") / "flow"
# Training writes a checkpoint when it is told to end.
SECONDS_TO_END = 20


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
    """The running stages of one flow."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ending = False
        self._lock = threading.Lock()

    def run(self, name: str, environment: Mapping[str, str]) -> Outcome:
        """Run one stage by DVC and wait for it; what it prints goes to its log.

        Raises `StageFailed`, or `Cancelled` if the flow ends.
        """
        log = log_file(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name]
        with log.open("wb") as file:
            process = self._start(command, {**os.environ, **environment}, file.fileno())
            try:
                code = process.wait()
            finally:
                self._ended(process)
        text = log.read_text(encoding="utf-8", errors="replace")
        if self._ending:
            raise Cancelled(name)
        if code:
            raise StageFailed(_why(text, code), again=not _is_user_error(text))
        return Outcome(ran="Running stage" in text)

    def end(self) -> None:
        """End every running stage and what it started; start none any more."""
        with self._lock:
            self._ending = True
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            # Also where DVC has ended: what it started may have not.
            _signal(process, signal.SIGKILL)

    def _start(self, command: list[str], environment: dict[str, str], output: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ending:
                raise Cancelled(command[-1])
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
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
    """Where the output of a stage is."""
    return LOGS / f"{name}.log"


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _is_user_error(text: str) -> bool:
    """Whether the stage's own command ended with the exit code for a user's error."""
    return re.search(rf"exited with {EXIT_USER_ERROR}\b", text) is not None


def _why(text: str, code: int) -> str:
    """The line that says best what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [f"dvc ended with {code}"])[0]
