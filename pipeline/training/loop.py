"""One training loop for all learners: Adam on fresh batches, selection by val, checkpoints, exact resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.learners import Learner
from pipeline.params import LearnerSection, TrainingSection
from pipeline.programs.tables import Split
from pipeline.training import batches, checkpoint
from pipeline.training.curriculum import Curriculum
from pipeline.training.diagnostics import theta_state
from pipeline.training.measure import measure
from pipeline.training.progress import ProgressLine
from pipeline.training.schedule import rate
from pipeline.training.selection import Progress, Row, Selection
from pipeline.training.stack import Stack
from pipeline.training.step import Step

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class Interrupted(Exception):
    """Training stopped early on request; a checkpoint is written."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}; run the same command again to go on from there")


@dataclass(frozen=True)
class Hooks:
    """What the outside adds to training: where each seed's curves go, and when to stop early."""

    on_row: Callable[[int, Row], None] = lambda seed, row: None
    stop: Callable[[], bool] = lambda: False


class Trainer:
    """Trains one learner with one seed or with those of a pack, from a checkpoint if there is one.

    Args:
        learners: by seed, with their seeded initial parameters, on `device`.
        section, training: the learner's and the family's settings; the learner's `steps`, if any, stand.
        train, val: splits on `device`. No other split is seen.
        scratch: directory of the checkpoint, keyed by all that determines the runs.

    Attributes:
        number: steps that are done.
        selections: by seed, what training has reached.
    """

    def __init__(
        self,
        learners: Mapping[int, Learner],
        section: LearnerSection,
        training: TrainingSection,
        train: Split,
        val: Split,
        scratch: Path,
    ) -> None:
        self.section = section
        self.training = training.model_copy(update={"steps": min(training.steps, section.steps or training.steps)})
        self.val_split = val
        family = next(iter(learners.values())).family
        self.u_train, self.u_val = (
            torch.from_numpy(family.codes(split.intents)).to(train.x.device) for split in (train, val)
        )
        for seed, learner in learners.items():
            learner.calibrate(self.u_train, batches.torch_generator(seed, batches.INITIAL_THETA))
        counts = train.counts.cpu().numpy()
        early = section.curriculum * self.training.steps
        curriculum = Curriculum.of(family, train, early) if early else None
        streams = [batches.Batches(seed, counts, training.batch, training.meta_batch, curriculum) for seed in learners]
        self.step = Step(Stack(list(learners.values())), section, self.training, streams, self.u_train, train)
        first = self.training.select_from * self.training.steps
        self.selections = {seed: Selection(learner, first) for seed, learner in learners.items()}
        self.number = 0
        self.started, self.before = time.monotonic(), 0.0  # seconds of the slices before this one
        self.path = scratch / checkpoint.FILE
        if self.path.exists():
            self._restore()

    def run(self, title: str, hooks: Hooks) -> None:
        """Train to the last step. Raises `Interrupted`, after a checkpoint, when `hooks.stop()` is true."""
        steps = self.training.steps
        saved = time.monotonic()
        with ProgressLine(title, steps, self.number) as line:
            if self.number == 0:
                self._evaluate(hooks, line)
            while self.number < steps and not self.diverged:
                self.step(self.number)
                self.number += 1
                if self.number % self.training.eval_every == 0 or self.number == steps:
                    self._evaluate(hooks, line)
                line.update(self.number)
                if hooks.stop():
                    self._save()
                    raise Interrupted(self.number)
                if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()
                    saved = time.monotonic()

    def finish(self) -> None:
        """Remove the checkpoint, once the outputs are in place."""
        self.path.unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """Time spent on the steps that are done, over all slices; what a killed process lost does not count."""
        return self.before + time.monotonic() - self.started

    @property
    def diverged(self) -> bool:
        """Whether no seed is left to train."""
        return all(selection.progress.diverged for selection in self.selections.values())

    def _evaluate(self, hooks: Hooks, line: ProgressLine) -> None:
        """Add a row to the history of each seed that has not diverged."""
        since = (self.number - 1) % self.training.eval_every + 1 if self.number else 0
        losses = self.step.take_losses(since) if since else [math.nan] * len(self.selections)
        rows = []
        for loss, (seed, selection) in zip(losses, self.selections.items(), strict=True):
            if not selection.progress.diverged:
                rows.append(self._row(selection.learner, loss))
                selection.add(rows[-1])
                hooks.on_row(seed, rows[-1])
        mean = sum(row["loss"] for row in rows) / len(rows) if since else None
        line.update(self.number, mean, *(row["val_accuracy"] for row in rows))

    def _row(self, learner: Learner, loss: float) -> Row:
        """What is known of a learner after the current step, `loss` since the row before."""
        measured = measure(learner, self.u_val, self.val_split)
        row: Row = {"step": self.number, "loss": loss}
        row |= {"val_accuracy": measured.accuracy, "val_loss": measured.mean_loss}
        row["learning_rate"] = self.section.learning_rate * rate(self.number, self.training)
        return row | theta_state(learner, self.u_train)

    def _save(self) -> None:
        tensors = {f"step/{name}": value for name, value in self.step.state().items()}
        for seed, selection in self.selections.items():
            tensors |= {f"{seed}/{name}": value for name, value in selection.tensors().items()}
        progress = {seed: asdict(selection.progress) for seed, selection in self.selections.items()}
        state = {"number": self.number, "progress": progress, "seconds": self.seconds}
        checkpoint.save(self.path, tensors, state)

    def _restore(self) -> None:
        tensors, state = checkpoint.load(self.path)
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = value.to(self.step.device)
        for name, value in self.step.state().items():
            value.copy_(parts["step"][name])
        for seed, selection in self.selections.items():
            selection.restore(parts[str(seed)], Progress(**state["progress"][str(seed)]))
        self.number, self.before = state["number"], state["seconds"]
