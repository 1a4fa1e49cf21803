"""addmod: the rule, the numbering of pairs, what a person may type."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.programs import Intent, make_family
from tests.helpers import paper, tiny

FAMILY = make_family(paper(), "addmod")


@pytest.mark.parametrize("p", [3, 7, 13])
def test_inputs_are_all_pairs_and_the_rule_adds_modulo_p(p: int) -> None:
    family, intent = make_family(tiny(), "addmod"), Intent("p", p)
    x = family.decode(intent, np.arange(family.space(intent)))
    assert list(map(tuple, x.tolist())) == list(itertools.product(range(p), repeat=2))
    expected = [[a + b - p if a + b >= p else a + b] for a, b in x.tolist()]
    assert family.rule(intent, x).tolist() == expected


def test_codes_are_in_units_of_tokens() -> None:
    codes = FAMILY.codes(FAMILY.all_intents())
    assert codes.shape == (21, 1)
    assert codes.dtype == np.float32
    assert FAMILY.code(Intent("p", 83)) == np.float32(0.83)


def test_names_parse_back() -> None:
    for intent in FAMILY.all_intents():
        assert FAMILY.parse(str(intent)) == FAMILY.parse(str(intent.parameter)) == intent


@pytest.mark.parametrize("name", ["", "p=", "p=14", "12", "101", "p=-13", "13.0", "n=13", "p=p=13"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"addmod has no intent .*; give a prime of programs.addmod.primes, 11 to 97"):
        FAMILY.parse(name)


def test_pairs_are_read_from_words() -> None:
    assert FAMILY.parse_input(Intent("p", 13), ["12", "0"]).tolist() == [12, 0]
    for words in (["13", "0"], ["0", "-1"], ["1"], ["1", "2", "3"], ["one", "2"], ["1.0", "2"], ["9" * 30, "2"]):
        with pytest.raises(UserError):
            FAMILY.parse_input(Intent("p", 13), words)


def test_loss_is_cross_entropy_and_solved_is_the_most_likely_token() -> None:
    logits = torch.tensor([[[[2.0, 0.0, 1.0]], [[0.0, 3.0, 0.0]]]], dtype=torch.float64)  # [1, 2, 1, 3]
    y = torch.tensor([[[2], [1]]])
    expected = [np.log(np.exp([2, 0, 1]).sum()) - 1, np.log(np.exp([0, 3, 0]).sum()) - 3]
    assert FAMILY.loss(logits, y).tolist()[0] == pytest.approx(expected)
    assert FAMILY.answer(logits).tolist() == [[[0], [1]]]
    assert FAMILY.solved(logits, y).tolist() == [[False, True]]
