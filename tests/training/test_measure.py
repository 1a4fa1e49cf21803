"""Measuring a split: every example once, padding never, whatever the pass is cut into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.learners import Learner
from pipeline.params import FAMILIES, Params
from pipeline.programs import make_family
from pipeline.programs.tables import Split, read_split
from pipeline.training import measure as module
from pipeline.training.measure import Measured, measure
from pipeline.training.run import Places
from tests.helpers import make

CELLS = [(family, "meta_mlp") for family in FAMILIES] + [("addmod", "direct_mlp"), ("arc1d", "direct_transformer")]


@torch.no_grad()
def own_answers(learner: Learner, u: Tensor, split: Split) -> Tensor:
    """The split's answers, with every other one replaced by what the learner says itself."""
    y = split.y.long()
    for _ in range(learner.family.output_length):  # each pass settles one more place
        y = learner.family.answer(learner(u, split.x.long(), y))
    return torch.where(torch.arange(y.shape[1])[:, None] % 2 == 0, y, split.y).to(split.y.dtype)


@pytest.mark.parametrize(("family_name", "learner_name"), CELLS)
@pytest.mark.parametrize("at_once", [1, 40, 4096])
def test_measured_is_the_loop_over_examples(
    params: Params, places: Places, monkeypatch: pytest.MonkeyPatch, family_name: str, learner_name: str, at_once: int
) -> None:
    monkeypatch.setattr(module, "EXAMPLES_AT_ONCE", at_once)
    family, learner = make_family(params, family_name), make(params, family_name, learner_name)
    split = read_split(places.splits(family_name), family, "test")
    assert len(set(split.counts.tolist())) > 1
    u = torch.from_numpy(family.codes(split.intents))
    split = replace(split, y=own_answers(learner, u, split))
    measured = measure(learner, u, split)
    for k in range(len(split.intents)):
        solved, loss = 0, 0.0
        for i in range(int(split.counts[k])):
            x, y = split.x[k, i].long()[None, None], split.y[k, i].long()[None, None]
            with torch.no_grad():
                output = learner(u[k : k + 1], x, y)
            solved += bool(torch.equal(family.answer(output), y))
            loss += float(family.loss(output, y))
        assert measured.examples[k] == split.counts[k]
        assert measured.solved[k] == solved
        assert measured.loss[k] == pytest.approx(loss, rel=1e-4)
    assert 0 < measured.solved.sum() < measured.examples.sum()


def test_padding_is_never_counted(params: Params, places: Places) -> None:
    family, learner = make_family(params, "addmod"), make(params, "addmod", "meta_mlp")
    split = read_split(places.splits("addmod"), family, "test")
    u = torch.from_numpy(family.codes(split.intents))
    before = measure(learner, u, split)
    padding = torch.arange(split.x.shape[1]) >= split.counts[:, None]
    assert padding.any()
    x, y = split.x.clone(), split.y.clone()
    x[padding], y[padding] = 2, 1
    after = measure(learner, u, replace(split, x=x, y=y))
    assert np.array_equal(before.solved, after.solved)
    assert np.array_equal(before.loss, after.loss)


def test_accuracy_and_loss_are_over_examples() -> None:
    measured = Measured(np.array([10, 0, 30]), np.array([5, 0, 6]), np.array([1.0, 0.0, 3.0]))
    assert measured.accuracy == 11 / 40
    assert measured.mean_loss == 0.1


def test_measuring_leaves_the_learner_in_training_mode(params: Params, places: Places) -> None:
    family, learner = make_family(params, "addmod"), make(params, "addmod", "direct_transformer")
    split = read_split(places.splits("addmod"), family, "val")
    state = {name: value.clone() for name, value in learner.state_dict().items()}
    measure(learner, torch.from_numpy(family.codes(split.intents)), split)
    assert learner.training
    assert all(torch.equal(value, state[name]) for name, value in learner.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.parameters())
