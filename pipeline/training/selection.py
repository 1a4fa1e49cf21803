"""What training has reached with one seed: its history, and the weights that val prefers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from pipeline.learners import Learner

Row = dict[str, float]
State = dict[str, Tensor]


@dataclass
class Progress:
    """What training has reached, but for tensors. A checkpoint holds it as JSON."""

    step: int = 0
    best_step: int = -1
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    diverged: bool = False
    history: list[Row] = field(default_factory=list)


class Selection:
    """Keeps the best weights of one seed: by val accuracy, then val loss, and those from step `first` on before others.

    Args:
        learner: the seed's own, which training changes in its place.
        first: the first step whose weights are wanted; earlier ones are kept only for want of later ones.
    """

    def __init__(self, learner: Learner, first: float) -> None:
        self.learner, self.first = learner, first
        self.progress = Progress()
        # The weights with which it diverged: in a pack the steps go on.
        self.ended: State | None = None
        self.best = self.last

    @property
    def last(self) -> State:
        """The learner's state after its last step."""
        if self.ended is not None:
            return self.ended
        return {name: value.detach().clone() for name, value in self.learner.state_dict().items()}

    def add(self, row: Row) -> None:
        """Add a row to the history, and keep the weights if val finds them better. A loss that is no number ends it."""
        progress, accuracy, val_loss = self.progress, row["val_accuracy"], row["val_loss"]
        progress.step = int(row["step"])
        progress.diverged = bool(progress.history) and not math.isfinite(row["loss"])
        if self._better(accuracy, val_loss):
            progress.best_step, progress.best_accuracy, progress.best_loss = progress.step, accuracy, val_loss
            self.best = self.last
        progress.history.append(row)
        if progress.diverged:
            self.ended = self.last

    def tensors(self) -> State:
        """The weights that a checkpoint must hold besides the current ones."""
        ended = {f"ended.{name}": value for name, value in (self.ended or {}).items()}
        return {**{f"best.{name}": value for name, value in self.best.items()}, **ended}

    def restore(self, tensors: State, progress: Progress) -> None:
        """Take over what `tensors` and `progress` were when a checkpoint was made."""
        parts: dict[str, State] = {"best": {}, "ended": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.progress, self.best, self.ended = progress, parts["best"], parts["ended"] or None

    def _better(self, accuracy: float, val_loss: float) -> bool:
        progress = self.progress
        now = (progress.step >= self.first, accuracy, -val_loss)
        kept = (progress.best_step >= self.first, progress.best_accuracy, -progress.best_loss)
        return math.isfinite(val_loss) and now > kept
