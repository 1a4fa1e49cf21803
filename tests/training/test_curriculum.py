"""The curriculum: small objects come oftener at first; afterwards the stream is as without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.programs.tables import read_split
from pipeline.training.batches import CHUNK, Batches
from pipeline.training.curriculum import Curriculum
from pipeline.training.run import Places
from tests.helpers import tiny
from tests.training.test_loop import in_pieces, same, straight, trainer

EXTENTS = [np.array([4, 1, 2]), np.array([3, 3, 3, 3, 3]), np.array([7])]
COUNTS = np.array([3, 5, 1])


@given(st.lists(st.lists(st.integers(1, 70), min_size=1, max_size=9), min_size=1, max_size=4), st.integers(0, 2**32))
def test_it_inverts_the_distribution_function(extents: list[list[int]], seed: int) -> None:
    """Against a sum, example by example."""
    uniform = np.random.default_rng(seed).random((2, len(extents), 3))
    intents = np.tile(np.arange(len(extents)), (2, 1))
    drawn = Curriculum([np.array(each) for each in extents], 10).examples(intents, uniform)
    for (s, k, n), place in np.ndenumerate(drawn):
        weights = [extent**-2 for extent in extents[k]]
        below = sum(weights[:place]) / sum(weights)
        assert 0 <= place < len(extents[k])
        assert below - 1e-9 <= uniform[s, k, n] <= below + weights[place] / sum(weights) + 1e-9


def test_an_example_is_as_likely_as_it_is_small() -> None:
    intents = np.tile(np.arange(3), (50, 1))
    drawn = Curriculum(EXTENTS, 10).examples(intents, np.random.default_rng(0).random((50, 3, 1000)))
    shares = [np.bincount(drawn[:, k].ravel(), minlength=n) / 50_000 for k, n in enumerate(COUNTS)]
    np.testing.assert_allclose(shares[0], [1 / 21, 16 / 21, 4 / 21], atol=0.01)
    np.testing.assert_allclose(shares[1], 0.2, atol=0.01)
    assert shares[2] == [1]


def test_the_ends_of_the_unit_interval_stay_within_the_intent() -> None:
    ends = np.array([0, np.nextafter(1, 0)])
    drawn = Curriculum(EXTENTS, 10).examples(np.array([[0, 1, 2]]), np.broadcast_to(ends, (1, 3, 2)))
    assert drawn.tolist() == [[[0, 2], [0, 4], [0, 0]]]


@pytest.mark.parametrize("meta_batch", [None, 2])
def test_it_fades_and_leaves_no_trace(meta_batch: int | None) -> None:
    early = CHUNK + CHUNK // 2
    plain = Batches(3, COUNTS, 300, meta_batch)
    early_on = Batches(3, COUNTS, 300, meta_batch, Curriculum(EXTENTS, early))
    for number in range(3):
        (intents, examples), (same, others) = early_on.chunk(number), plain.chunk(number)
        assert torch.equal(intents, same)
        assert (examples.numpy() < COUNTS[intents.numpy()][..., None]).all()
        steps = number * CHUNK + np.arange(CHUNK)
        assert torch.equal(examples[steps >= early], others[steps >= early])
        assert not torch.equal(examples, others) or number == 2


def test_its_share_falls_from_one_to_zero() -> None:
    """The smallest example of the first intent: 16/21 of what the curriculum draws, and 1/3 of the rest."""
    steps = 2 * CHUNK
    early_on = Batches(0, COUNTS, 3000, None, Curriculum(EXTENTS, steps))
    drawn = torch.cat([early_on.chunk(number)[1] for number in (0, 1)])[:, 0] == 1  # [steps, n]
    share = drawn.double().mean(1).view(8, -1).mean(1).numpy()
    middle = 1 - (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(share, 1 / 3 + (16 / 21 - 1 / 3) * middle, atol=0.01)


def led(family: str, curriculum: float = 0.5) -> Params:
    return tiny({f"learners.{family}.meta_mlp.curriculum": curriculum, f"training.{family}.steps": 6})


def test_training_draws_by_the_extents_of_its_examples(places: Places) -> None:
    (stream,) = trainer(led("arc1d"), places, "never", "arc1d").step.streams
    assert stream.curriculum is not None
    assert stream.curriculum.steps == 3
    train = read_split(places.splits("arc1d"), make_family(tiny(), "arc1d"), "train")
    spans = [np.flatnonzero(row)[[0, -1]] for row in train.x[1][: train.counts[1]].numpy()]
    weights = np.array([(last - first + 1.0) ** -2 for first, last in spans])
    marks = stream.curriculum.marks[train.counts[0] : train.counts[:2].sum()]
    np.testing.assert_allclose(np.diff(marks, prepend=1), weights / weights.sum(), atol=1e-12)
    (stream,) = trainer(led("arc1d", 0.0), places, "never", "arc1d").step.streams
    assert stream.curriculum is None


@pytest.mark.parametrize("pieces", [[1] * 5, [3], [2, 2]], ids=str)
def test_a_run_in_slices_ends_in_the_same_bits(places: Places, pieces: list[int]) -> None:
    params = led("arc1d")
    assert same(in_pieces(params, places, pieces, "arc1d"), straight(params, places, "arc1d"))


@pytest.mark.parametrize("family", ["sumfirst", "addmod"])
def test_numbers_are_no_objects(places: Places, family: str) -> None:
    with pytest.raises(UserError, match=rf"learners\.{family}: {family} has no objects.* set curriculum: 0\.0"):
        trainer(led(family), places, "never", family)
