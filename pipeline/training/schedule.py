"""How the learning rate goes from step to step."""

from __future__ import annotations

import math

from pipeline.params import TrainingSection


def rate(step: int, training: TrainingSection) -> float:
    """Learning rate of a step (0 … steps) as a share of the setting: linear warm-up, then the schedule."""
    if step < training.warmup:
        return (step + 1) / training.warmup
    if training.schedule == "constant":
        return 1.0
    done = (step - training.warmup) / max(1, training.steps - training.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
