"""One training loop for all learners: Adam on fresh batches, selection by val, checkpoints, exact resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pipeline.learners import Learner
from pipeline.params import LearnerSection, TrainingSection
from pipeline.programs.tables import Split
from pipeline.training import batches, checkpoint
from pipeline.training.diagnostics import theta_state
from pipeline.training.measure import measure
from pipeline.training.progress import ProgressLine

Row = dict[str, float]
State = dict[str, Tensor]

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class Interrupted(Exception):
    """Training stopped early on request; a checkpoint is written."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}; run the same command again to go on from there")


@dataclass
class Progress:
    """What training has reached, but for tensors. A checkpoint holds it as JSON."""

    step: int = 0
    best_step: int = -1
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    diverged: bool = False
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Hooks:
    """What the outside adds to training: where curves go, and when to stop early."""

    on_row: Callable[[Row], None] = lambda row: None
    stop: Callable[[], bool] = lambda: False


class Trainer:
    """Trains one learner with one seed, from a checkpoint if there is one.

    Args:
        learner: with its seeded initial parameters, on `device`.
        section, training: the learner's and the family's settings; the learner's `steps`, if any, stand.
        train, val: splits on `device`. No other split is seen.
        scratch: directory of this run's checkpoint, keyed by all that determines the run.
    """

    def __init__(
        self,
        learner: Learner,
        section: LearnerSection,
        training: TrainingSection,
        seed: int,
        train: Split,
        val: Split,
        scratch: Path,
    ) -> None:
        self.learner, self.section = learner, section
        self.training = training.model_copy(update={"steps": min(training.steps, section.steps or training.steps)})
        self.train_split, self.val_split = train, val
        self.device = train.x.device
        family = learner.family
        self.u_train = torch.from_numpy(family.codes(train.intents)).to(self.device)
        self.u_val = torch.from_numpy(family.codes(val.intents)).to(self.device)
        self.batches = batches.Batches(seed, train.counts.cpu().numpy(), training.batch, training.meta_batch)
        self.chunk_number = -1
        learner.calibrate(self.u_train, batches.torch_generator(seed, batches.INITIAL_THETA))
        self.optimizer = torch.optim.AdamW(
            learner.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay, fused=True
        )
        # Losses since the last row of the history are summed on the device: no synchronisation in a step.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.progress = Progress()
        self.best = self._copy()
        self.path = scratch / "checkpoint.safetensors"
        if self.path.exists():
            self._restore()

    def run(self, title: str, hooks: Hooks) -> None:
        """Train to the last step. Raises `Interrupted`, after a checkpoint, when `hooks.stop()` is true."""
        progress, steps = self.progress, self.training.steps
        saved = time.monotonic()
        with ProgressLine(title, steps, progress.step) as line:
            if progress.step == 0:
                self._evaluate(hooks, line)
            while progress.step < steps and not progress.diverged:
                self._step()
                if progress.step % self.training.eval_every == 0 or progress.step == steps:
                    self._evaluate(hooks, line)
                line.update(progress.step)
                if hooks.stop():
                    self._save()
                    raise Interrupted(progress.step)
                if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()
                    saved = time.monotonic()

    def finish(self) -> None:
        """Remove the checkpoint, once the outputs are in place."""
        self.path.unlink(missing_ok=True)

    @property
    def last(self) -> State:
        """The learner's state after the last step."""
        return self._copy()

    def _step(self) -> None:
        u, x, y = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = self.section.learning_rate * rate(self.progress.step, self.training)
        loss = self.learner.family.loss(self.learner(u, x, y), y).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss_sum += loss.detach()
        self.progress.step += 1

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Intent codes [k, d_u], inputs [k, n, l] and answers [k, n, m] of the current step."""
        number, place = divmod(self.progress.step, batches.CHUNK)
        if number != self.chunk_number:
            intents, examples = self.batches.chunk(number)
            self.intents, self.examples = intents.to(self.device), examples.to(self.device)
            self.chunk_number = number
        intents, examples = self.intents[place], self.examples[place]
        x = self.train_split.x[intents[:, None], examples].long()
        y = self.train_split.y[intents[:, None], examples].long()
        return self.u_train[intents], x, y

    def _evaluate(self, hooks: Hooks, line: ProgressLine) -> None:
        """Add a row to the history; keep the weights if val is better (accuracy, then loss)."""
        progress = self.progress
        since = progress.step - (int(progress.history[-1]["step"]) if progress.history else 0)
        loss = float(self.loss_sum) / since if since else math.nan
        self.loss_sum.zero_()
        measured = measure(self.learner, self.u_val, self.val_split)
        accuracy, val_loss = measured.accuracy, measured.mean_loss
        progress.diverged = since > 0 and not math.isfinite(loss)
        if self._better(accuracy, val_loss):
            progress.best_step, progress.best_accuracy, progress.best_loss = progress.step, accuracy, val_loss
            self.best = self._copy()
        row: Row = {"step": progress.step, "loss": loss, "val_accuracy": accuracy, "val_loss": val_loss}
        row["learning_rate"] = self.section.learning_rate * rate(progress.step, self.training)
        if not progress.diverged:
            row |= theta_state(self.learner, self.u_train)
        progress.history.append(row)
        hooks.on_row(row)
        line.update(progress.step, loss, accuracy)

    def _better(self, accuracy: float, val_loss: float) -> bool:
        """Whether these weights should be kept: those from `select_from` on go before earlier ones."""
        first = self.training.select_from * self.training.steps
        progress = self.progress
        now = (progress.step >= first, accuracy, -val_loss)
        kept = (progress.best_step >= first, progress.best_accuracy, -progress.best_loss)
        return math.isfinite(val_loss) and now > kept

    def _copy(self) -> State:
        return {name: value.detach().clone() for name, value in self.learner.state_dict().items()}

    def _save(self) -> None:
        # Copies, because modules may share a parameter and safetensors refuses shared memory.
        tensors = {f"learner.{name}": value for name, value in self._copy().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        checkpoint.save(self.path, {**tensors, "loss_sum": self.loss_sum}, asdict(self.progress))

    def _restore(self) -> None:
        tensors, progress = checkpoint.load(self.path)
        parts: dict[str, State] = {"learner": {}, "best": {}, "optimizer": {}}
        self.loss_sum = tensors.pop("loss_sum").to(self.device)
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value.to(self.device)
        self.learner.load_state_dict(parts["learner"])
        self.best = parts["best"]
        moments: dict[int, State] = {}
        for name, value in parts["optimizer"].items():
            i, _, rest = name.partition(".")
            moments.setdefault(int(i), {})[rest] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.progress = Progress(**progress)


def rate(step: int, training: TrainingSection) -> float:
    """Learning rate of a step (0 … steps) as a share of the setting: linear warm-up, then the schedule."""
    if step < training.warmup:
        return (step + 1) / training.warmup
    if training.schedule == "constant":
        return 1.0
    done = (step - training.warmup) / max(1, training.steps - training.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
