"""One live line: step, loss, val accuracy, time left. On a terminal it is redrawn, elsewhere printed now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 20.0


class ProgressLine:
    """Progress of one run, or of those of a pack. Use as a context; call `update` after each step."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self.title, self.total, self.first, self.done = title, total, done, done
        self.loss: float | None = None  # not known before the first step
        self.accuracies: tuple[float, ...] = ()
        self.started = self.printed = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task(title, total=total, completed=done, scores="")

    def __enter__(self) -> ProgressLine:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if self.bar.disable:
            self._print()

    def update(self, done: int, loss: float | None = None, *accuracies: float) -> None:
        """Move to `done` steps; the mean loss and each seed's accuracy are shown until newer ones come."""
        self.done = done
        if accuracies:
            self.loss, self.accuracies = loss, accuracies
            self.bar.update(self.task, scores=self._scores())
        self.bar.update(self.task, completed=done)
        if self.bar.disable and time.monotonic() - self.printed > SECONDS_BETWEEN_LINES:
            self._print()

    def _scores(self) -> str:
        if not self.accuracies:
            return "not evaluated yet"
        worst, best = min(self.accuracies), max(self.accuracies)
        val = f"{best:.3f}" if len(self.accuracies) == 1 else f"{worst:.3f} … {best:.3f}"
        return f"loss {self.loss:.4f}  val {val}" if self.loss is not None else f"val {val}"

    def _print(self) -> None:
        self.printed = time.monotonic()
        elapsed = self.printed - self.started
        left = elapsed / max(1, self.done - self.first) * (self.total - self.done)
        print(
            f"{self.title}  {self.done}/{self.total}  {self._scores()}  {left:.0f} s left", file=sys.stderr, flush=True
        )
