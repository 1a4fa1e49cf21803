"""One training step of a pack on tensors that stay in their place: batch, loss, gradient, AdamW."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.params import LearnerSection, TrainingSection
from pipeline.programs.tables import Split
from pipeline.training import batches, machine, precision
from pipeline.training.batches import Batches
from pipeline.training.capture import captured
from pipeline.training.schedule import rate
from pipeline.training.stack import Stack


class Step:
    """The steps of S seeds at once. Nothing within a step waits for the device, so that CUDA can replay it whole.

    Which intents and examples a step sees is chosen on the host, a chunk of steps at a time, as a function of the
    seed alone; the step itself counts its place in the chunk, and looks up its batch and its learning rate there.

    Args:
        stack: the learners.
        section, training: their settings.
        streams: the batches of each seed.
        u: codes [K, d_u] of the train intents.
        train: the train split, on the same device.
    """

    def __init__(
        self,
        stack: Stack,
        section: LearnerSection,
        training: TrainingSection,
        streams: Sequence[Batches],
        u: Tensor,
        train: Split,
    ) -> None:
        self.stack, self.section, self.training, self.streams = stack, section, training, streams
        device = self.device = train.x.device
        self.u, self.width = u, train.x.shape[1]
        self.x, self.y = train.x.flatten(0, 1), train.y.flatten(0, 1)  # [K·N, l], [K·N, m]
        cuda = device.type == "cuda"
        # CUDA's AdamW reads float32; the CPU's reads any, and loses nothing in float64.
        self.rate = torch.zeros(1, dtype=torch.float32 if cuda else torch.float64, device=device)
        self.optimizer = torch.optim.AdamW(
            stack.parameters.values(), self.rate, weight_decay=section.weight_decay, fused=True, capturable=cuda
        )
        for parameter in stack.parameters.values():
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), device=device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        seeds, k, n = len(streams), streams[0].intents_per_step, streams[0].examples_per_intent
        self.chunk = -1
        self.place = torch.zeros(1, dtype=torch.int64, device=device)
        self.intents = torch.zeros(batches.CHUNK, seeds, k, dtype=torch.int64, device=device)
        self.rows = torch.zeros(batches.CHUNK, seeds, k, n, dtype=torch.int64, device=device)
        self.rates = torch.zeros(batches.CHUNK, dtype=self.rate.dtype, device=device)
        # Losses are summed on the device until somebody asks for them.
        self.loss_sum = torch.zeros(seeds, dtype=torch.float64, device=device)
        self.one = torch.ones(seeds, device=device)
        changed = [*self.state().values(), self.place, self.rate]
        self.run = captured(self._run, changed, device) if machine.captures(device) else self._run

    def __call__(self, number: int) -> None:
        """Train step `number` (0, 1, …) of all seeds; steps come in order, from any of them on."""
        chunk, place = divmod(number, batches.CHUNK)
        if chunk != self.chunk:
            self._load(chunk, place)
        self.run()

    def state(self) -> dict[str, Tensor]:
        """All that steps change and that later ones need, by name; the tensors themselves, [S, …] of several seeds."""
        tensors = {f"parameters.{name}": parameter.detach() for name, parameter in self.stack.parameters.items()}
        for name, parameter in self.stack.parameters.items():
            tensors |= {f"{key}.{name}": value for key, value in self.optimizer.state[parameter].items()}
        return {**tensors, "loss_sum": self.loss_sum}

    def take_losses(self, steps: int) -> list[float]:
        """The mean loss of each seed over the last `steps` steps, which must be those since the last call."""
        means = (self.loss_sum / steps).tolist()
        self.loss_sum.zero_()
        return means

    def _load(self, chunk: int, place: int) -> None:
        """Put a chunk of batches and learning rates where the steps look them up."""
        for seed, stream in enumerate(self.streams):
            intents, examples = stream.chunk(chunk)
            self.intents[:, seed].copy_(intents)
            self.rows[:, seed].copy_(intents[..., None] * self.width + examples)
        steps = range(chunk * batches.CHUNK, (chunk + 1) * batches.CHUNK)
        rates = [self.section.learning_rate * rate(step, self.training) for step in steps]
        self.rates.copy_(torch.tensor(rates, dtype=torch.float64))
        self.place.fill_(place)
        self.chunk = chunk

    def _run(self) -> None:
        torch.index_select(self.rates, 0, self.place, out=self.rate)
        intents, rows = self.intents.index_select(0, self.place)[0], self.rows.index_select(0, self.place)[0]
        x, y = self.x[rows].long(), self.y[rows].long()  # [S, k, n, l], [S, k, n, m]
        # None, not zero: the backward pass then writes gradients and adds to none, in a replay, too. By hand, because
        # the optimizer's own way takes a fiftieth of a small step.
        for parameter in self.stack.parameters.values():
            parameter.grad = None
        with precision.products(self.training.precision):
            with precision.autocast(self.training.precision, self.device):
                losses = self.stack.losses(self.u[intents], x, y, self.section.loss_power)
            losses.backward(self.one)
        if self.section.gradient_clip is not None:
            self.stack.clip(self.section.gradient_clip)
        self.optimizer.step()
        self.loss_sum += losses.detach()
        self.place += 1
