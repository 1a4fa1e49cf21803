"""arc1d: rules and inputs against strings and regular expressions, written from the words of the definition."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.programs import Arc1d, Intent, make_family
from tests.helpers import paper, tiny

ALL = ("fill", "flip", "hollow", "move_right(1)", "move_right(3)", "recolor_bar(1)", "recolor_bar(2)")
INPUTS = {
    "fill": r"0*([1-9])0+\1(?:0*)",
    "hollow": r"0*([1-9])\1\1+0*",
    "flip": r"0*([1-9])(?!\1)([1-9])\2*0*",
    "move_right": r"0*([1-9])\1*0*",
    "recolor_bar": r"0*([1-9])\1*0*",
}


def by_words(intent: Intent, row: str) -> str:
    """The rule on a string of digits."""
    d = intent.parameter
    return {
        "fill": lambda: re.sub(r"([1-9])0+\1", lambda m: m[1] * len(m[0]), row),
        "hollow": lambda: re.sub(r"([1-9])(\1+)\1", lambda m: m[1] + "0" * len(m[2]) + m[1], row),
        "flip": lambda: re.sub(r"[1-9]+", lambda m: m[0][::-1], row),
        "move_right": lambda: "0" * d + row[: len(row) - d],
        "recolor_bar": lambda: re.sub(r"[1-9]", str(d), row),
    }[intent.kind]()


def fits(intent: Intent, row: str) -> bool:
    """Whether a row is an input of the intent."""
    room = intent.kind != "move_right" or row.endswith("0" * intent.parameter)
    return room and re.fullmatch(INPUTS[intent.kind], row) is not None


def all_rows(length: int) -> set[str]:
    """Rows of one stretch: one colour, two equal ends, or a block whose first cell differs; and nothing else."""
    found = set()
    for first in range(length):
        for n in range(1, length - first + 1):
            for a in "123456789":
                stretches = [a * n, a + "0" * (n - 2) + a if n > 2 else a * n]
                stretches += [b + a * (n - 1) for b in "123456789"]
                found |= {"0" * first + stretch + "0" * (length - first - n) for stretch in stretches}
    return found


def text(x: np.ndarray) -> list[str]:
    return ["".join(map(str, row)) for row in x.tolist()]


def intent_of(name: str) -> Intent:
    return family_of(12).parse(name)


def family_of(length: int) -> Arc1d:
    family = make_family(tiny({"programs.arc1d.length": length}), "arc1d")
    assert isinstance(family, Arc1d)
    return family


@pytest.mark.parametrize("length", [4, 7, 12])
@pytest.mark.parametrize("name", ALL)
def test_inputs_are_exactly_the_rows_that_fit(name: str, length: int) -> None:
    family, intent = family_of(length), intent_of(name)
    decoded = text(family.decode(intent, np.arange(family.space(intent))))
    assert len(set(decoded)) == len(decoded) == family.space(intent)
    assert set(decoded) == {row for row in all_rows(length) if fits(intent, row)}


@pytest.mark.parametrize("name", ALL)
def test_rule_is_that_of_the_words(name: str) -> None:
    family, intent = family_of(12), intent_of(name)
    x = family.decode(intent, np.arange(family.space(intent)))
    assert text(family.rule(intent, x)) == [by_words(intent, row) for row in text(x)]


PAPER = make_family(paper(), "arc1d")
assert isinstance(PAPER, Arc1d)
NUMBERED = st.sampled_from(PAPER.all_intents()).flatmap(
    lambda u: st.tuples(st.just(u), st.integers(0, PAPER.space(u) - 1))
)


@given(NUMBERED)
def test_rule_on_the_papers_rows(case: tuple[Intent, int]) -> None:
    intent, number = case
    x = PAPER.decode(intent, np.array([number]))
    (row,), (answer,) = text(x), text(PAPER.rule(intent, x))
    assert len(row) == 70
    assert fits(intent, row)
    assert answer == by_words(intent, row)
    if intent.kind == "move_right":  # never clips: the object is whole
        assert sorted(answer) == sorted(row)
        assert answer.strip("0") == row.strip("0")


@given(st.text("0123456789", min_size=12, max_size=12), st.sampled_from(["move_right(3)", "recolor_bar(2)"]))
def test_rule_on_rows_that_are_no_inputs(row: str, name: str) -> None:
    intent, x = PAPER.parse(name), np.array([list(map(int, row))])
    assert text(PAPER.rule(intent, x)) == [by_words(intent, row)]


@given(st.integers(0, PAPER.space(Intent("fill")) - 1), st.integers(0, PAPER.space(Intent("flip")) - 1))
def test_hollow_undoes_fill_and_flip_undoes_itself(bar: int, block: int) -> None:
    fill, hollow, flip = Intent("fill"), Intent("hollow"), Intent("flip")
    x, full = (PAPER.decode(u, np.array([bar])) for u in (fill, hollow))
    assert np.array_equal(PAPER.rule(hollow, PAPER.rule(fill, x)), x)
    assert np.array_equal(PAPER.rule(fill, PAPER.rule(hollow, full)), full)
    assert np.array_equal(PAPER.rule(fill, x), full)  # one number, one object
    x = PAPER.decode(flip, np.array([block]))
    flipped = PAPER.rule(flip, x)
    assert not np.array_equal(flipped, x)
    assert np.array_equal(PAPER.rule(flip, flipped), x)


def test_codes_tell_intents_apart() -> None:
    intents = PAPER.all_intents()
    codes = PAPER.codes(intents)
    assert codes.shape == (21, 6)
    assert codes.dtype == np.float32
    assert len({code.tobytes() for code in codes}) == 21
    assert PAPER.code(Intent("move_right", 6)).tolist() == [0, 0, 0, 1, 0, 2]


@pytest.mark.parametrize("intent", PAPER.all_intents(), ids=str)
def test_names_parse_back(intent: Intent) -> None:
    assert PAPER.parse(str(intent)) == intent
    if intent.parameter:
        assert PAPER.parse(f"{intent.kind}:{intent.parameter}") == intent


@pytest.mark.parametrize(
    "name",
    ["", "fill(1)", "fill:1", "move_right", "move_right(0)", "move_right(10)", "move_right(-1)", "paint", "7", "flip "],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"arc1d has no intent .*; give fill, flip, hollow, move_right:D"):
        PAPER.parse(name)


def test_rows_are_read_as_digits_or_words(params: Params) -> None:
    family, row = family_of(4), [0, 9, 3, 0]
    assert family.parse_input(Intent("flip"), ["0930"]).tolist() == row
    assert family.parse_input(Intent("flip"), ["0", "9", "3", "0"]).tolist() == row
    for words in (
        ["093"],
        ["09300"],
        ["09x0"],
        ["0", "9", "10", "0"],
        ["0", "-1", "1", "0"],
        [],
        ["0", "9", "3", "9" * 30],
    ):
        with pytest.raises(UserError):
            family.parse_input(Intent("flip"), words)


@pytest.mark.parametrize("kind", ["fill", "flip", "hollow", "move_right", "recolor_bar"])
def test_an_extent_counts_the_cells_from_end_to_end(kind: str) -> None:
    family = make_family(tiny(), "arc1d")
    intent = next(u for u in family.intents("train") if u.kind == kind)
    x = family.decode(intent, np.arange(family.space(intent)))
    extents = family.extents(x)
    assert extents is not None
    assert extents.tolist() == [len(row.strip("0")) for row in text(x)]
