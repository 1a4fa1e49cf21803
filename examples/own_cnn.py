"""A CNN of your own, its weights written by meta_gnn for a family of tasks.

An image holds a cross and a ring. The intent is a direction, an angle φ: is the cross further along φ than
the ring? The learner sees eight directions, 45° apart, and is then asked for the eight halfway between.

    python examples/own_cnn.py        # less than a minute on one core
"""

from __future__ import annotations

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError, run_main
from pipeline.learners import count, meta_gnn_for

SIDE, NOISE = 12, 0.3
CROSS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])
RING = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])
SEEN = torch.arange(8) * math.pi / 4
HELD_OUT = SEEN + math.pi / 8


class Cnn(nn.Module):
    """The user's network. Nothing in it knows that its weights will be written by another."""

    def __init__(self, channels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(1, width)
        self.head = nn.Linear(width * 9, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, channels, 12, 12] give logits [n, 2]."""
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = F.max_pool2d(torch.relu(self.norm(self.conv2(x))), 2)
        return self.head(x.flatten(1))


class Conditioned(nn.Module):
    """A baseline: one CNN with weights of its own, which reads the intent as two more image planes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cnn = Cnn(3, width)

    def forward(self, u: Tensor, x: Tensor) -> Tensor:
        """Intents u [K, 2] and images x [K, n, 1, 12, 12] give logits [K, n, 2]."""
        planes = u[:, None, :, None, None].expand(*x.shape[:2], 2, SIDE, SIDE)
        return self.cnn(torch.cat([x, planes], 2).flatten(0, 1)).unflatten(0, x.shape[:2])


def codes(angles: Tensor) -> Tensor:
    """Intent codes [K, 2] of angles [K]."""
    return torch.stack([angles.cos(), angles.sin()], 1)


def examples(angles: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images [K, n, 1, 12, 12] and labels [K, n] for each angle."""
    total = len(angles) * n
    places = torch.randint(0, SIDE - 2, (total, 2, 2), generator=generator)  # cross and ring: row, column
    image = torch.randn(total, SIDE, SIDE, generator=generator) * NOISE
    window = torch.arange(3)
    for which, mark in enumerate((CROSS, RING)):
        rows, columns = (places[:, which, axis, None] + window for axis in (0, 1))  # [total, 3]
        image[torch.arange(total)[:, None, None], rows[:, :, None], columns[:, None, :]] += mark
    difference = (places[:, 0] - places[:, 1]).float().view(len(angles), n, 2)
    along = torch.einsum("kna,ka->kn", difference, codes(angles).flip(1))  # rows run along sin, columns along cos
    return image.view(len(angles), n, 1, SIDE, SIDE), (along > 0).long()


def train(model: nn.Module, steps: int, batch: int, learning_rate: float) -> None:
    """Adam on fresh examples of the seen angles, the learning rate falling to zero."""
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x, y = examples(SEEN, batch, generator)
        loss = F.cross_entropy(model(codes(SEEN), x).flatten(0, 1), y.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, angles: Tensor, asked: Tensor) -> float:
    """Share of 1,000 fresh examples of each angle solved, when the model is told the angles `asked`."""
    x, y = examples(angles, 1000, torch.Generator().manual_seed(2))
    return float((model(codes(asked), x).argmax(-1) == y).float().mean())


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    if options.steps < 1:
        raise UserError(f"--steps must be 1 or more, not {options.steps}")
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)

    learner = meta_gnn_for(Cnn(), codes(SEEN), torch.zeros(1, 1, SIDE, SIDE))
    # Learning rates were compared for each: 3e-3 is too large for the learner, 2e-2 for the baselines.
    models = (
        (f"{learner.template.n_slots} weights written for the angle", learner, 2e-3),
        ("the same CNN, angle as image planes", Conditioned(8), 1e-2),
        ("four times as wide, angle as planes", Conditioned(32), 1e-2),
    )
    print(f"{'':38}{'parameters':>10}{'seen angles':>13}{'held-out angles':>17}{'seconds':>9}")
    for name, model, rate in models:
        start = time.perf_counter()
        train(model, options.steps, 16, rate)
        seconds = time.perf_counter() - start
        seen, held_out = accuracy(model, SEEN, SEEN), accuracy(model, HELD_OUT, HELD_OUT)
        print(f"{name:38}{count(model)['trainable']:10}{seen:13.3f}{held_out:17.3f}{seconds:9.0f}")
    nearest = accuracy(learner, HELD_OUT, SEEN)
    print(f"{'weights written for the nearest seen':38}{'':23}{nearest:17.3f}")


if __name__ == "__main__":
    run_main(main)
