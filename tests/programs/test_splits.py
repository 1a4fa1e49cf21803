"""Splits: Table 4 to the example, no example in two splits, no intent where it is held out."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.params import FAMILIES, Params
from pipeline.programs import SPLITS, Examples, Family, make_family
from pipeline.programs.tables import summary
from tests.helpers import changed, paper, paper_values, tiny

TABLE_4 = {
    "addmod": {"train": 50000, "test": 1712, "val": 1997, "ood": 12000},
    "sumfirst": {"train": 160000, "test": 8000, "val": 10000, "ood": 10000},
    "arc1d": {"train": 144000, "test": 16000, "val": 5000, "ood": 5000},
}
STRICT = {"programs.addmod.split": "strict"}

# SHA-256 of the tiny examples, so that a numpy whose generators changed is noticed.
PINNED = {"sumfirst": "eb3e157353fc1f3d", "addmod": "155b70d26e727da3", "arc1d": "15805853f4dc933f"}


@pytest.fixture(scope="module")
def published() -> dict[str, tuple[Family, dict[str, Examples]]]:
    settings = paper()
    return {name: (make_family(settings, name), make_family(settings, name).generate()) for name in FAMILIES}


def rows(family: Family, splits: dict[str, Examples]) -> dict[str, set[tuple[str, bytes]]]:
    """Each split as a set of (intent, input)."""
    return {
        split: {(str(e.intents[k]), x.tobytes()) for k, x in zip(e.intent, e.x, strict=True)}
        for split, e in splits.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_split_sizes_are_the_papers(published: dict[str, tuple[Family, dict[str, Examples]]], name: str) -> None:
    _, splits = published[name]
    assert {split: len(examples.x) for split, examples in splits.items()} == TABLE_4[name]
    assert {split: table["total"] for split, table in summary(splits).items()} == TABLE_4[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_example_is_in_two_splits(published: dict[str, tuple[Family, dict[str, Examples]]], name: str) -> None:
    sets = rows(*published[name])
    assert {split: len(examples) for split, examples in sets.items()} == TABLE_4[name]  # none twice in one split
    assert len(set().union(*sets.values())) == sum(TABLE_4[name].values())


def test_addmod_holds_every_pair_of_every_prime_once(published: dict[str, tuple[Family, dict[str, Examples]]]) -> None:
    _, splits = published["addmod"]
    primes = [p for p in range(11, 98) if all(p % q for q in range(2, p))]
    pairs = {(p, a, b) for p in primes for a in range(p) for b in range(p)}
    assert len(primes) == 21
    assert len(pairs) == 65709
    found = [
        (e.intents[k].parameter, int(a), int(b))
        for e in splits.values()
        for k, (a, b) in zip(e.intent, e.x, strict=True)
    ]
    assert len(found) == 65709
    assert set(found) == pairs


def test_intents_are_those_of_the_paper(published: dict[str, tuple[Family, dict[str, Examples]]]) -> None:
    names = {name: {s: [str(u) for u in family.intents(s)] for s in SPLITS} for name, (family, _) in published.items()}
    assert names["sumfirst"]["train"] == [f"n={n}" for n in range(1, 9)]
    assert (names["sumfirst"]["val"], names["sumfirst"]["ood"]) == (["n=9"], ["n=10"])
    held_out = ["p=13", "p=23", "p=37", "p=71", "p=83"]
    assert len(names["addmod"]["train"]) == 16
    assert not set(names["addmod"]["train"]) & set(held_out)
    assert names["addmod"]["val"] == names["addmod"]["ood"] == held_out
    assert len(names["arc1d"]["train"]) == 19
    assert names["arc1d"]["ood"] == ["fill", "flip", "hollow", "move_right(7)", "recolor_bar(7)"]
    assert all(table["train"] == table["test"] for table in names.values())


def test_examples_are_shared_evenly(published: dict[str, tuple[Family, dict[str, Examples]]]) -> None:
    sizes = {name: summary(splits) for name, (_, splits) in published.items()}
    assert all(sizes["sumfirst"]["train"][f"n={n}"] == 20000 for n in range(1, 9))
    assert all(sizes["sumfirst"]["test"][f"n={n}"] == 1000 for n in range(1, 9))
    arc = sizes["arc1d"]
    assert set(arc["ood"].values()) == set(arc["val"].values()) == {5000, 1000}
    for split, total in (("train", 144000), ("test", 16000)):
        assert {n for u, n in arc[split].items() if u != "total"} == {total // 19, total // 19 + 1}
    for split, total in (("test", 1712), ("val", 1997)):
        pairs = sum(u.parameter**2 for u in published["addmod"][0].intents(split))
        for u in published["addmod"][0].intents(split):
            assert abs(sizes["addmod"][split][str(u)] - total * u.parameter**2 / pairs) < 1


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_and_order(published: dict[str, tuple[Family, dict[str, Examples]]], name: str) -> None:
    family, splits = published[name]
    for e in splits.values():
        assert (np.diff(e.intent) >= 0).all()
        for k, u in enumerate(e.intents):
            x = e.x[e.intent == k]
            assert np.array_equal(e.y[e.intent == k], family.rule(u, x))
            assert [tuple(row) for row in x[:200]] == sorted(tuple(row) for row in x[:200])


@pytest.mark.parametrize("changes", [STRICT, {**STRICT, "programs.addmod.primes": [3, 5, 7, 11, 13, 17]}])
def test_strict_val_and_ood_share_no_prime(changes: dict[str, object]) -> None:
    family = make_family(tiny(changes), "addmod")
    primes = {split: {u.parameter for u in family.intents(split)} for split in SPLITS}
    assert primes["val"] == {7}
    assert primes["ood"] == {5, 11}
    assert primes["train"] == primes["test"] == set(family.settings.primes) - {5, 7, 11}
    sizes = summary(family.generate())
    assert sizes["val"] == {"total": 49, "p=7": 49}
    assert sizes["ood"] == {"total": 146, "p=5": 25, "p=11": 121}
    assert sizes["train"]["total"] + sizes["test"]["total"] == sum(p * p for p in primes["train"])


def test_strict_split_of_the_paper_partitions_the_pairs_too() -> None:
    family = make_family(Params.model_validate(changed(paper_values(), STRICT)), "addmod")
    sets = rows(family, family.generate())
    assert len(set().union(*sets.values())) == sum(map(len, sets.values())) == 65709


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"programs.addmod.test": 227}, "programs.addmod.test: 227 leaves nothing of 227 pairs"),
        ({"programs.addmod.val": 9999}, "programs.addmod.val: 9999 leaves nothing of 146 pairs"),
        ({"programs.sumfirst.val": 3126}, "programs.sumfirst: 3126 distinct examples of n=4 .* only 3125 exist"),
        ({"programs.sumfirst.train": 9300, "programs.sumfirst.test": 99}, "programs.sumfirst: 3133 .* only 3125 exist"),
        ({"programs.arc1d.val": 9000}, "programs.arc1d: .* only [0-9]+ exist; lower train, test, val or ood"),
    ],
)
def test_more_examples_than_exist_are_refused(changes: dict[str, object], message: str) -> None:
    (setting, *_) = changes
    family = make_family(tiny(changes), setting.split(".")[1])
    with pytest.raises(UserError, match=message) as error:
        family.generate()
    assert "\n" not in str(error.value)


def test_all_examples_that_exist_can_be_had() -> None:
    family = make_family(tiny({"programs.sumfirst.val": 3125}), "sumfirst")
    assert len({x.tobytes() for x in family.generate()["val"].x}) == 3125


@pytest.mark.parametrize("name", FAMILIES)
def test_examples_are_pinned(params: Params, name: str) -> None:
    total = hashlib.sha256()
    for split, e in make_family(params, name).generate().items():
        total.update(split.encode())
        for values in (e.intent, e.x, e.y):
            total.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
    assert total.hexdigest()[:16] == PINNED[name]


@pytest.mark.parametrize(
    ("name", "changes", "kept"),
    [
        ("sumfirst", {"programs.sumfirst.train_n": [3, 1], "programs.sumfirst.train": 41}, "n=5"),
        ("addmod", {"programs.addmod.primes": [2, 3, 5, 7, 11, 13]}, "p=11"),
        ("arc1d", {"programs.arc1d.parameters": [1, 2, 3, 4], "programs.arc1d.train": 90}, "move_right(2)"),
    ],
)
def test_other_intents_leave_an_intents_examples_as_they_are(
    params: Params, name: str, changes: dict[str, object], kept: str
) -> None:
    families = [make_family(settings, name) for settings in (params, tiny(changes))]
    before, after = (family.generate()["ood"] for family in families)
    k, again = (e.intents.index(family.parse(kept)) for family, e in zip(families, (before, after), strict=True))
    assert families[0].intents("train") != families[1].intents("train")
    assert np.array_equal(before.x[before.intent == k], after.x[after.intent == again])


def test_another_seed_draws_other_examples(params: Params) -> None:
    for name in FAMILIES:
        other = make_family(tiny({f"programs.{name}.seed": 1}), name).generate()
        same = make_family(params, name).generate()
        assert any(not np.array_equal(other[split].x, same[split].x) for split in SPLITS)
