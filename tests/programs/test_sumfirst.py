"""sumfirst: the rule, the numbering of lists, what a person may type."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.programs import Intent, make_family
from tests.helpers import paper, tiny

FAMILY = make_family(paper(), "sumfirst")


def test_inputs_are_all_lists() -> None:
    family, intent = make_family(tiny(), "sumfirst"), Intent("n", 2)
    x = family.decode(intent, np.arange(family.space(intent)))
    assert len(x) == 5**5
    assert set(map(tuple, x.tolist())) == set(itertools.product(range(-2, 3), repeat=5))


@given(st.integers(1, 10), st.lists(st.integers(0, 7**10 - 1), min_size=1, max_size=5))
def test_rule_sums_the_first_n(n: int, numbers: list[int]) -> None:
    x = FAMILY.decode(Intent("n", n), np.array(numbers))
    assert x.shape == (len(numbers), 10)
    assert set(x.flatten().tolist()) <= set(range(-3, 4))
    assert FAMILY.rule(Intent("n", n), x).tolist() == [[sum(row[:n])] for row in x.tolist()]


def test_codes_are_in_units_of_places() -> None:
    codes = FAMILY.codes(FAMILY.all_intents())
    assert codes.shape == (10, 1)
    assert codes.dtype == np.float32
    assert np.diff(codes[:, 0]) == pytest.approx(2 / 3)
    assert FAMILY.code(Intent("n", 4)) == pytest.approx(-1)


def test_names_parse_back() -> None:
    for intent in FAMILY.all_intents():
        assert FAMILY.parse(str(intent)) == FAMILY.parse(str(intent.parameter)) == intent


@pytest.mark.parametrize("name", ["", "n=", "0", "n=0", "11", "-1", "p=3", "3.0"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"sumfirst has no intent .*; give n from 1 to 10"):
        FAMILY.parse(name)


def test_lists_are_read_from_words() -> None:
    words = ["1", "-2", "3", "-4", "5", "-6", "7", "-8", "9", "-10"]
    assert FAMILY.parse_input(Intent("n", 3), words).tolist() == [1, -2, 3, -4, 5, -6, 7, -8, 9, -10]
    for wrong in (words[:9], [*words, "1"], ["x", *words[1:]], ["9" * 30, *words[1:]]):
        with pytest.raises(UserError, match="expected 10 integers, got"):
            FAMILY.parse_input(Intent("n", 3), wrong)


def test_loss_is_squared_error_and_solved_is_after_rounding() -> None:
    output, y = torch.tensor([[[1.4], [-2.6], [2.5001]]]), torch.tensor([[[1], [-2], [3]]])
    assert FAMILY.loss(output, y)[0].tolist() == pytest.approx([0.16, 0.36, 0.2499], abs=1e-4)
    assert FAMILY.answer(output).tolist() == [[[1], [-3], [3]]]
    assert FAMILY.solved(output, y).tolist() == [[True, False, True]]
