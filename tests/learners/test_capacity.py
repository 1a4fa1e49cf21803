"""Capacity matching: the paper's budgets within 5 %, kept widths, budgets that no width meets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.errors import UserError
from pipeline.learners import count, make_learner
from pipeline.learners.capacity import fit, scaled, trainable
from pipeline.params import FAMILIES, LEARNERS, Params
from pipeline.programs import make_family
from pipeline.templates import make_template
from tests.helpers import make, paper, tiny

# Trainable parameters in the paper; where it has no such cell, those of the family's smallest meta-learner.
BUDGETS = {
    ("sumfirst", "direct_mlp"): 259449,
    ("sumfirst", "direct_transformer"): 189603,  # not in the paper
    ("sumfirst", "meta_mlp"): 259650,
    ("sumfirst", "meta_gmlp"): 235235,
    ("sumfirst", "meta_gmlp_mx"): 189603,  # not in the paper
    ("sumfirst", "meta_gnn"): 189603,
    ("addmod", "direct_mlp"): 218240,
    ("addmod", "direct_transformer"): 212964,
    ("addmod", "meta_mlp"): 218176,
    ("addmod", "meta_gmlp"): 237648,
    ("addmod", "meta_gmlp_mx"): 218176,  # not in the paper
    ("addmod", "meta_gnn"): 284256,
    ("arc1d", "direct_mlp"): 589408,  # not in the paper
    ("arc1d", "direct_transformer"): 649230,
    ("arc1d", "meta_mlp"): 589408,
    ("arc1d", "meta_gmlp"): 755562,
    ("arc1d", "meta_gmlp_mx"): 589408,  # not in the paper
    ("arc1d", "meta_gnn"): 650018,
}
PAPER, TINY = paper(), tiny()


def on_meta(params: Params, family: str, learner: str, factor: float) -> int:
    """Parameters of a learner with its widths scaled, counted without allocating."""
    section = scaled(params.learner(family, learner), factor).model_copy(update={"budget": None})
    with torch.device("meta"):
        return trainable(make_learner(learner, make_family(params, family), make_template(params, family), section))


def test_every_cell_has_a_budget() -> None:
    assert set(BUDGETS) == {(family, learner) for family in FAMILIES for learner in LEARNERS}


@pytest.mark.parametrize(("family", "learner"), BUDGETS)
def test_parameters_are_within_5_percent_of_the_papers(family: str, learner: str) -> None:
    with torch.device("meta"):  # nothing is allocated
        made = make(PAPER, family, learner)
    parameters = sum(p.numel() for p in made.parameters())
    assert count(made)["trainable"] == parameters
    assert abs(parameters / BUDGETS[family, learner] - 1) <= 0.05


@settings(max_examples=25)
@given(st.sampled_from(FAMILIES), st.sampled_from(LEARNERS), st.integers(1, 400), st.integers(1, 400))
def test_more_width_never_gives_fewer_parameters(family: str, learner: str, one: int, two: int) -> None:
    narrow, wide = sorted((one / 128, two / 128))
    assert on_meta(TINY, family, learner, narrow) <= on_meta(TINY, family, learner, wide)


@pytest.mark.parametrize("learner", LEARNERS)
def test_widths_are_kept_within_tolerance_and_matched_beyond(learner: str) -> None:
    family, template = make_family(TINY, "addmod"), make_template(TINY, "addmod")
    section = TINY.learner("addmod", learner)
    written = on_meta(TINY, "addmod", learner, 1)
    for share in (0.96, 1.04):
        near = section.model_copy(update={"budget": round(written * share)})
        assert count(make_learner(learner, family, template, near))["trainable"] == written
    budget = 8 * on_meta(TINY, "addmod", learner, 1)
    far = section.model_copy(update={"budget": budget})
    assert abs(count(make_learner(learner, family, template, far))["trainable"] / budget - 1) <= 0.05


@pytest.mark.parametrize(
    ("learner", "budget"),
    [("meta_mlp", 1), ("meta_mlp", 10**13), ("direct_mlp", 10**13), ("direct_transformer", 1), ("meta_gnn", 1)],
)
def test_a_budget_that_no_width_meets_is_refused(learner: str, budget: int) -> None:
    params = tiny({f"learners.addmod.{learner}.budget": budget})
    message = rf"^learners.addmod.{learner}.budget: no width gives {budget} ± 5 % parameters; the nearest gives \d+$"
    with pytest.raises(UserError, match=message):
        make(params, "addmod", learner)


def square(section: Any) -> nn.Module:
    return nn.Linear(section.hidden[0], section.hidden[0], bias=False)


@pytest.mark.parametrize(("width", "budget", "fitted"), [(10, 100, 10), (10, 104, 10), (10, 400, 20), (10, 25, 5)])
def test_the_nearest_width_is_found(width: int, budget: int, fitted: int) -> None:
    section = TINY.learner("addmod", "meta_mlp").model_copy(update={"hidden": (width,), "budget": budget})
    assert fit(section, square, "x").hidden == (fitted,)
    assert fit(section.model_copy(update={"budget": None}), square, "x").hidden == (width,)


def test_all_widths_are_scaled_alike_and_heads_stay_whole() -> None:
    meta = TINY.learner("addmod", "meta_mlp").model_copy(update={"hidden": (4, 10, 3)})
    assert scaled(meta, 2.5).hidden == (10, 25, 8)
    assert scaled(meta, 0.001).hidden == (1, 1, 1)
    transformer = TINY.learner("addmod", "direct_transformer").model_copy(update={"d_model": 12, "n_heads": 4})
    assert [scaled(transformer, factor).d_model for factor in (1, 1.2, 1.5, 0.01)] == [12, 16, 16, 4]
    assert scaled(TINY.learner("addmod", "meta_gnn"), 2).width == 2 * TINY.learner("addmod", "meta_gnn").width


def test_trainable_and_frozen_are_counted_apart() -> None:
    module = nn.Linear(3, 4)
    module.register_buffer("codes", torch.zeros(7))
    module.bias.requires_grad_(False)
    assert trainable(module) == 12
    assert count(module) == {"trainable": 12, "frozen": 7}
