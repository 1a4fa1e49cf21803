"""How right a learner is on a split: solved examples and loss of each intent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.learners import Learner
from pipeline.programs.tables import Split

# Examples in one forward pass: bounds memory, and keeps the working set near the cache.
EXAMPLES_AT_ONCE = 4096


@dataclass(frozen=True)
class Measured:
    """Per intent [K]: examples, solved examples, and the sum of their losses."""

    examples: np.ndarray
    solved: np.ndarray
    loss: np.ndarray

    @property
    def accuracy(self) -> float:
        """Solved share of all examples."""
        return float(self.solved.sum() / self.examples.sum())

    @property
    def mean_loss(self) -> float:
        """Mean loss over all examples."""
        return float(self.loss.sum() / self.examples.sum())


@torch.no_grad()
def measure(learner: Learner, u: Tensor, split: Split) -> Measured:
    """Run the learner on every example of a split; u [K, d_u] are the codes of its intents."""
    learner.eval()
    program = learner.bind(u)
    width = max(1, EXAMPLES_AT_ONCE // len(split.intents))
    solved = torch.zeros(len(split.intents), dtype=torch.int64, device=u.device)
    loss = torch.zeros(len(split.intents), dtype=torch.float64, device=u.device)
    for start in range(0, split.x.shape[1], width):
        x = split.x[:, start : start + width].long()
        y = split.y[:, start : start + width].long()
        real = torch.arange(start, start + x.shape[1], device=u.device) < split.counts[:, None]  # [K, n]
        output = program(x, y)
        solved += (learner.family.solved(output, y) & real).sum(1)
        loss += (learner.family.loss(output, y).double() * real).sum(1)
    learner.train()
    return Measured(split.counts.cpu().numpy(), solved.cpu().numpy(), loss.cpu().numpy())
