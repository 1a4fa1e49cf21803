"""Which intents and examples each step sees: a stream that is a pure function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.params import TrainingSection
from pipeline.programs.tables import Split

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
        kinds: of each intent, where every kind has the same share of a step: so many intents of each that they come
            nearest to `meta_batch`, an intent more than once where a kind has few.
    """

    seed: int
    counts: np.ndarray
    batch: int
    meta_batch: int | None
    kinds: Sequence[str] | None = None

    @classmethod
    def of(cls, training: TrainingSection, seed: int, train: Split) -> Batches:
        """Those of a run with these settings on this train split."""
        kinds = [intent.kind for intent in train.intents] if training.balance == "kinds" else None
        return cls(seed, train.counts.cpu().numpy(), training.batch, training.meta_batch, kinds)

    @property
    def intents_per_step(self) -> int:
        asked = min(self.meta_batch or len(self.counts), len(self.counts))
        if self.kinds is None:
            return asked
        several = len(set(self.kinds))
        return several * max(1, round(asked / several))

    @property
    def examples_per_intent(self) -> int:
        return max(1, self.batch // self.intents_per_step)

    def chunk(self, number: int) -> tuple[Tensor, Tensor]:
        """Steps number · CHUNK …: intents [CHUNK, k] and the examples of each [CHUNK, k, n] (int64).

        Any chunk can be made alone, so a resumed run sees what an unbroken one would have seen.
        """
        key = np.random.SeedSequence(self.seed, spawn_key=(BATCHES, number))
        rng = np.random.Generator(np.random.Philox(key))
        intents = self._intents(rng)
        uniform = rng.random((*intents.shape, self.examples_per_intent))
        examples = (uniform * self.counts[intents][..., None]).astype(np.int64)
        return torch.from_numpy(intents), torch.from_numpy(examples)

    def _intents(self, rng: np.random.Generator) -> np.ndarray:
        """The intents of each step [CHUNK, k]."""
        k, total = self.intents_per_step, len(self.counts)
        if self.kinds is None:
            intents = np.tile(np.arange(total), (CHUNK, 1))
            return rng.permuted(intents, axis=1)[:, :k] if k < total else intents
        kinds = np.array(self.kinds)
        groups = [np.flatnonzero(kinds == kind) for kind in dict.fromkeys(self.kinds)]
        return np.concatenate([_drawn(rng, members, k // len(groups)) for members in groups], 1)


def _drawn(rng: np.random.Generator, members: np.ndarray, n: int) -> np.ndarray:
    """n of the members for each step [CHUNK, n], each as often as any other, or once more."""
    times = -(-n // len(members))
    rounds = [rng.permuted(np.tile(members, (CHUNK, 1)), axis=1) for _ in range(times)]
    return np.concatenate(rounds, 1)[:, :n]
