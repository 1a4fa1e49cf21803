"""What all families share: fair shares, samples without repetition, intents as text, settings that travel."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.params import FAMILIES, Params
from pipeline.programs import SPLITS, Intent, family_from, make_family
from pipeline.programs.base import share, whole_numbers


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**4), min_size=1, max_size=30))
def test_shares_are_whole_proportional_and_complete(total: int, weights: list[int]) -> None:
    parts = share(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < 1
    ordered = sorted(zip(weights, parts, strict=True))
    assert all(light <= heavy for (a, light), (b, heavy) in pairwise(ordered) if a < b)


def test_the_first_of_equal_remainders_wins() -> None:
    assert share(7, [1, 1, 1]) == [3, 2, 2]
    assert share(10, [1, 2, 2]) == [2, 4, 4]
    assert share(5, [3, 1]) == [4, 1]


def test_whole_numbers_are_read_or_refused() -> None:
    assert whole_numbers(["-3", "40"], 2, "two integers").tolist() == [-3, 40]
    with pytest.raises(UserError, match="expected two integers, got '1 x'"):
        whole_numbers(["1", "x"], 2, "two integers")


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_hold_no_input_twice_and_depend_on_the_generator_alone(params: Params, name: str) -> None:
    family = make_family(params, name)
    for intent in family.all_intents():
        n = min(family.space(intent), 500)
        one, same, other = (family.sample(np.random.default_rng(seed), intent, n) for seed in (1, 1, 2))
        assert len({row.tobytes() for row in one}) == n
        assert one.shape == (n, family.input_length)
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", FAMILIES)
def test_intents_have_one_name_each(params: Params, name: str) -> None:
    family = make_family(params, name)
    intents = family.all_intents()
    assert len({str(u) for u in intents}) == len(intents)
    assert set(intents) == {u for split in SPLITS for u in family.intents(split)}
    assert not {str(u) for u in family.intents("ood") if u.parameter} & {str(u) for u in family.intents("train")}


def test_intent_names() -> None:
    intents = [Intent("n", 9), Intent("p", 83), Intent("move_right", 7), Intent("fill")]
    assert [str(u) for u in intents] == ["n=9", "p=83", "move_right(7)", "fill"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_rebuilt_from_its_settings(params: Params, name: str) -> None:
    family = make_family(params, name)
    again = family_from(name, family.settings.model_dump(mode="json"))
    assert type(again) is type(family)
    assert again.settings == family.settings
    with pytest.raises(pydantic.ValidationError):
        family_from(name, {})
    with pytest.raises(KeyError):
        family_from("submod", {})


@pytest.mark.parametrize("name", FAMILIES)
def test_template_reads_the_input_and_earlier_answers_only(params: Params, name: str) -> None:
    family = make_family(params, name)
    x = torch.arange(2 * 3 * family.input_length).view(2, 3, -1)
    y = 1000 + torch.arange(2 * 3 * family.output_length).view(2, 3, -1)
    read = family.template_input(x, y)
    assert torch.equal(read[..., : family.input_length], x.to(read.dtype))
    rest = read[..., family.input_length :]
    assert torch.equal(rest, y[..., :-1]) if name == "arc1d" else rest.shape[-1] == 0
    assert read.is_floating_point() == (family.vocabulary is None)
