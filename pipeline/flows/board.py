"""The live table of a flow: what runs where, for how long, what is done."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.flows.plan import Planned

WAITING, RUNNING, DONE, UNCHANGED, FAILED, SKIPPED, CANCELLED = (
    "waiting",
    "running",
    "done",
    "unchanged",
    "failed",
    "not run",
    "cancelled",
)


class Board:
    """The state of every planned stage; any thread may set one.

    Args:
        progress: what a running stage said last.
    """

    def __init__(self, planned: Sequence[Planned], progress: Callable[[str], str] = lambda _: "") -> None:
        self._progress = progress
        self.remark = ""
        self._states = {stage.name: WAITING for stage in planned}
        self._notes = dict.fromkeys(self._states, "")
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def set(self, name: str, state: str, note: str = "") -> None:
        """Set the state of a stage; `note` is its device or its error."""
        now = time.monotonic()
        with self._lock:
            self._states[name] = state
            if note or state not in (DONE, UNCHANGED):  # where it ran stays there
                self._notes[name] = note
            if state == RUNNING:
                self._started[name] = now
            elif name in self._started:
                self._seconds[name] = now - self._started[name]

    def finish(self) -> None:
        """Stages that still wait are not run any more."""
        with self._lock:
            for name, state in self._states.items():
                if state == WAITING:
                    self._states[name] = SKIPPED

    def rows(self) -> list[dict[str, str]]:
        """A row a stage: name, state, seconds, its device or error, and what it said last while it runs."""
        now = time.monotonic()
        with self._lock:
            rows = [
                {"stage": name, "state": state, "seconds": self._time(name, now), "note": self._notes[name]}
                for name, state in self._states.items()
            ]
        return [{**row, "progress": self._progress(row["stage"]) if row["state"] == RUNNING else ""} for row in rows]

    def count(self, *states: str) -> int:
        """How many stages are in one of the states."""
        with self._lock:
            return sum(state in states for state in self._states.values())

    def succeeded(self, name: str) -> bool:
        """Whether a stage is up to date now."""
        with self._lock:
            return self._states[name] in (DONE, UNCHANGED)

    @property
    def finished(self) -> bool:
        """Whether every stage is up to date now."""
        return self.count(DONE, UNCHANGED) == len(self._states)

    @property
    def failed(self) -> list[tuple[str, str]]:
        """The stages that failed, with the reason."""
        return [(row["stage"], row["note"]) for row in self.rows() if row["state"] == FAILED]

    def __rich__(self) -> Table:
        table = Table("stage", "state", "s", "", "", box=None, title=self.summary(), title_justify="left")
        for row in self.rows():
            if row["state"] in (RUNNING, FAILED):
                table.add_row(row["stage"], row["state"], row["seconds"], row["note"], row["progress"])
        return table

    def summary(self) -> str:
        """One line: how many stages are in which state."""
        names = (DONE, UNCHANGED, RUNNING, WAITING, FAILED, SKIPPED, CANCELLED)
        counts = [(self.count(name), name) for name in names]
        said = ", ".join(f"{n} {name}" for n, name in counts if n) or "nothing to do"
        return f"{said}; {self.remark}" if self.remark else said

    def _time(self, name: str, now: float) -> str:
        if name in self._seconds:
            return f"{self._seconds[name]:.0f}"
        return f"{now - self._started[name]:.0f}" if name in self._started else ""


@contextmanager
def shown(board: Board) -> Iterator[None]:
    """Show the board while the block runs: live on a terminal, else only at the end."""
    console = Console(stderr=True)
    if sys.stderr.isatty():
        with Live(board, console=console, refresh_per_second=2, transient=True):
            yield
    else:
        yield
