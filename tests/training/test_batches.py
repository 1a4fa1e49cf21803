"""Batches: a pure function of seed and chunk, even over intents, uniform over examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training import batches
from pipeline.training.batches import CHUNK, Batches, torch_generator

COUNTS = np.array([5, 40, 1, 17, 300])


def chunks(source: Batches, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Intents [n · CHUNK, k] and examples [n · CHUNK, k, e] of the first chunks."""
    pairs = [source.chunk(number) for number in range(n)]
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.sampled_from([None, 1, 2, 4, 5, 9]), st.integers(1, 64))
def test_a_chunk_is_a_pure_function(seed: int, number: int, meta_batch: int | None, batch: int) -> None:
    source = Batches(seed, COUNTS, batch, meta_batch)
    source.chunk(number + 1)
    intents, examples = source.chunk(number)
    again = Batches(seed, COUNTS.copy(), batch, meta_batch).chunk(number)
    assert torch.equal(intents, again[0])
    assert torch.equal(examples, again[1])
    k = min(meta_batch or 5, 5)
    assert intents.shape == (CHUNK, k)
    assert examples.shape == (CHUNK, k, max(1, batch // k))
    assert intents.dtype == examples.dtype == torch.int64
    assert (examples >= 0).all()
    assert (examples.numpy() < COUNTS[intents.numpy()][..., None]).all()
    assert all(len(set(step)) == k for step in intents.tolist())


def test_seeds_and_chunks_differ() -> None:
    drawn = {Batches(s, COUNTS, 32, 2).chunk(n)[1].numpy().tobytes() for s in range(4) for n in range(4)}
    assert len(drawn) == 16


def test_examples_of_a_step_are_shared_evenly() -> None:
    cases = {(256, None): (5, 51), (256, 2): (2, 128), (3, None): (5, 1), (256, 99): (5, 51)}
    for (batch, meta_batch), expected in cases.items():
        source = Batches(0, COUNTS, batch, meta_batch)
        assert (source.intents_per_step, source.examples_per_intent) == expected


def test_all_intents_come_in_order_without_a_meta_batch() -> None:
    intents, _ = chunks(Batches(0, COUNTS, 32, None), 1)
    assert (intents == np.arange(5)).all()


def test_examples_are_uniform() -> None:
    _, examples = chunks(Batches(3, COUNTS, 200, None), 4)
    for k, count in enumerate(COUNTS):
        drawn = np.bincount(examples[:, k].ravel(), minlength=count)
        expected = drawn.sum() / count
        assert np.abs(drawn - expected).max() <= 5 * expected**0.5 + 1e-9
        assert len(drawn) == count


@pytest.mark.parametrize("meta_batch", [1, 2, 4])
def test_meta_batches_are_uniform_over_intents_and_pairs(meta_batch: int) -> None:
    intents, _ = chunks(Batches(5, COUNTS, 8, meta_batch), 8)
    steps = len(intents)
    drawn = np.bincount(intents.ravel(), minlength=5)
    share = meta_batch / 5
    assert np.abs(drawn - steps * share).max() < 5 * (steps * share * (1 - share)) ** 0.5
    if meta_batch == 2:
        pairs = np.bincount(intents.min(1) * 5 + intents.max(1), minlength=25)
        assert np.abs(pairs[pairs > 0] - steps / 10).max() < 5 * (steps * 0.09) ** 0.5
        assert (pairs > 0).sum() == 10


def test_concerns_have_generators_of_their_own() -> None:
    concerns = (batches.INITIAL_PARAMETERS, batches.INITIAL_THETA, batches.BATCHES)
    drawn = {(s, c): tuple(torch.rand(3, generator=torch_generator(s, c)).tolist()) for s in range(3) for c in concerns}
    assert len(set(drawn.values())) == 9
    assert torch_generator(1, 0).initial_seed() == torch_generator(1, 0).initial_seed()
