"""The curriculum: small objects come oftener at first; afterwards the stream is as without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.learners import make_learner
from pipeline.programs import make_family
from pipeline.programs.tables import as_split
from pipeline.templates import make_template
from pipeline.training.batches import CHUNK, Batches
from pipeline.training.curriculum import Curriculum
from pipeline.training.loop import Hooks, Interrupted, Trainer
from tests.helpers import tiny

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
    led = Batches(3, COUNTS, 300, meta_batch, Curriculum(EXTENTS, early))
    for number in range(3):
        (intents, examples), (same, others) = led.chunk(number), plain.chunk(number)
        assert torch.equal(intents, same)
        assert (examples.numpy() < COUNTS[intents.numpy()][..., None]).all()
        steps = number * CHUNK + np.arange(CHUNK)
        assert torch.equal(examples[steps >= early], others[steps >= early])
        assert not torch.equal(examples, others) or number == 2


def test_its_share_falls_from_one_to_zero() -> None:
    """The smallest example of the first intent: 16/21 of what the curriculum draws, and 1/3 of the rest."""
    steps = 2 * CHUNK
    led = Batches(0, COUNTS, 3000, None, Curriculum(EXTENTS, steps))
    drawn = torch.cat([led.chunk(number)[1] for number in (0, 1)])[:, 0] == 1  # [steps, n]
    share = drawn.double().mean(1).view(8, -1).mean(1).numpy()
    middle = 1 - (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(share, 1 / 3 + (16 / 21 - 1 / 3) * middle, atol=0.01)


def made(tmp_path: Path, steps: int = 6, family: str = "arc1d", curriculum: float = 0.5) -> Trainer:
    settings = f"learners.{family}.meta_mlp.curriculum"
    params = tiny({settings: curriculum, f"training.{family}.steps": steps})
    program = make_family(params, family)
    splits = {name: as_split(examples) for name, examples in program.generate().items()}
    section = params.learner(family, "meta_mlp")
    torch.manual_seed(0)
    learner = make_learner("meta_mlp", program, make_template(params, family), section)
    return Trainer({0: learner}, section, getattr(params.training, family), splits["train"], splits["val"], tmp_path)


def test_training_sees_it_and_ends_without(tmp_path: Path) -> None:
    (stream,) = made(tmp_path / "a").step.streams
    assert stream.curriculum is not None
    assert stream.curriculum.steps == 3
    program = make_family(tiny(), "arc1d")
    train = as_split(program.generate()["train"])
    spans = [np.flatnonzero(row)[[0, -1]] for row in train.x[1][: train.counts[1]].numpy()]
    weights = np.array([(last - first + 1.0) ** -2 for first, last in spans])
    marks = stream.curriculum.marks[train.counts[0] : train.counts[:2].sum()]
    np.testing.assert_allclose(np.diff(marks, prepend=1), weights / weights.sum(), atol=1e-12)
    (stream,) = made(tmp_path / "b", curriculum=0.0).step.streams
    assert stream.curriculum is None


def test_a_run_in_slices_sees_what_an_unbroken_one_sees(tmp_path: Path) -> None:
    unbroken = made(tmp_path / "unbroken")
    unbroken.run("unbroken", Hooks())
    for _ in range(5):
        with pytest.raises(Interrupted):
            made(tmp_path / "sliced").run("sliced", Hooks(stop=lambda: True))
    sliced = made(tmp_path / "sliced")
    sliced.run("sliced", Hooks())
    for name, value in unbroken.selections[0].last.items():
        assert torch.equal(value, sliced.selections[0].last[name]), name


def test_numbers_are_no_objects(tmp_path: Path) -> None:
    for family in ("sumfirst", "addmod"):
        with pytest.raises(UserError, match=rf"learners\.{family}: {family} has no objects.* set curriculum: 0\.0"):
            made(tmp_path, family=family)
