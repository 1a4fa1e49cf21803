"""Which examples come oftener at first: those with small objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import UserError
from pipeline.programs import Family
from pipeline.programs.tables import Split


class Curriculum:
    """Draws a share of the examples, 1 at step 0 and 0 from step `steps` on, by the inverse square of their extent.

    What one cell of a long object says is one among many that a head looks at, and too faint to be learned from;
    in a short object it is one of few (docs/findings.md, flip).

    Args:
        extents: of each intent's train examples [N_k], all at least 1 (`Family.extents`).
        steps: those that it is for.
    """

    def __init__(self, extents: Sequence[np.ndarray], steps: float) -> None:
        self.steps = steps
        self.counts = np.array([len(each) for each in extents])
        self.first = np.cumsum(self.counts) - self.counts
        weights = [1 / np.square(each, dtype=np.float64) for each in extents]
        # The examples of intent k are marks between k and k + 1, as far apart as they are likely.
        self.marks = np.concatenate([k + np.cumsum(each) / each.sum() for k, each in enumerate(weights)])

    @classmethod
    def of(cls, family: Family, train: Split, steps: float) -> Curriculum:
        """That of a train split. Raises `UserError` for a family whose inputs hold no object."""
        inputs = [x[:count] for x, count in zip(train.x.cpu().numpy(), train.counts.tolist(), strict=True)]
        extents = [each for each in map(family.extents, inputs) if each is not None]
        if not extents:
            raise UserError(
                f"learners.{family.name}: {family.name} has no objects, small ones or large; set curriculum: 0.0"
            )
        return cls(extents, steps)

    def share(self, step: np.ndarray) -> np.ndarray:
        """The share of a step's examples that is drawn so, for any steps."""
        return np.clip(1 - step / self.steps, 0, None)

    def examples(self, intents: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """The examples [s, k, n] of intents [s, k] for numbers [s, k, n] that are uniform in 0 … 1."""
        place = np.searchsorted(self.marks, intents[..., None] + uniform, side="right")
        return np.minimum(place - self.first[intents][..., None], self.counts[intents][..., None] - 1)
