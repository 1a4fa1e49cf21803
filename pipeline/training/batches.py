"""Which intents and examples each step sees: a stream that is a pure function of seed and settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.training.curriculum import Curriculum

CHUNK = 256

# One generator per concern: nothing that draws more numbers can shift what another concern draws.
INITIAL_PARAMETERS, INITIAL_THETA, BATCHES = range(3)


def torch_generator(seed: int, concern: int) -> torch.Generator:
    """A CPU generator for one concern of one run."""
    state = np.random.SeedSequence(seed, spawn_key=(concern,)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


@dataclass(frozen=True)
class Batches:
    """`batch` examples a step, shared evenly by the step's intents, drawn with replacement.

    Args:
        seed: the run's seed.
        counts: train examples of each intent [K].
        batch: examples a step; each intent of the step gets batch // intents, at least one.
        meta_batch: intents a step, or None for all.
        curriculum: which examples come oftener at first, or None for none.
    """

    seed: int
    counts: np.ndarray
    batch: int
    meta_batch: int | None
    curriculum: Curriculum | None = None

    @property
    def intents_per_step(self) -> int:
        return min(self.meta_batch or len(self.counts), len(self.counts))

    @property
    def examples_per_intent(self) -> int:
        return max(1, self.batch // self.intents_per_step)

    def chunk(self, number: int) -> tuple[Tensor, Tensor]:
        """Steps number · CHUNK …: intents [CHUNK, k] and the examples of each [CHUNK, k, n] (int64).

        Any chunk can be made alone, so a resumed run sees what an unbroken one would have seen.
        """
        key = np.random.SeedSequence(self.seed, spawn_key=(BATCHES, number))
        rng = np.random.Generator(np.random.Philox(key))
        k, total = self.intents_per_step, len(self.counts)
        intents = np.tile(np.arange(total), (CHUNK, 1))
        if k < total:
            intents = rng.permuted(intents, axis=1)[:, :k]
        uniform = rng.random((CHUNK, k, self.examples_per_intent))
        examples = (uniform * self.counts[intents][..., None]).astype(np.int64)
        steps = number * CHUNK + np.arange(CHUNK)
        if self.curriculum is not None and steps[0] < self.curriculum.steps:
            share = self.curriculum.share(steps)[:, None, None]
            early = rng.random(uniform.shape) < share
            examples = np.where(early, self.curriculum.examples(intents, uniform), examples)
        return torch.from_numpy(intents), torch.from_numpy(examples)
