"""Table 4 and the parameter budgets."""

from __future__ import annotations

import pytest

from pipeline.report import Source
from pipeline.report.budgets import budgets
from pipeline.report.evidence import gather
from pipeline.report.sizes import table4
from pipeline.report.table import to_csv
from tests.report.made_up import FROZEN, settings


def test_sizes_stand_beside_the_papers_and_differences_are_named(source: Source) -> None:
    assert to_csv(table4(gather(source))).splitlines()[1:] == [
        'addmod,100,50000,1712,1712,1997,1997,100,12000,"other settings: train, ood"',
        'arc1d,60,144000,50,16000,20,5000,20,5000,"other settings: train, test, val, ood"',
    ]


def test_sizes_that_are_not_stored_are_missing(stored: Source) -> None:
    (stored.splits / "addmod.json").unlink()
    first = to_csv(table4(gather(stored))).splitlines()[1]
    assert first == "addmod,,50000,,1712,,1997,,12000,"


def test_strict_splits_are_told(stored: Source) -> None:
    assert table4(gather(stored)).notes == ()
    settings(stored, {"programs.addmod.split": "strict"})
    assert "split: strict" in table4(gather(stored)).notes[0]


def test_budgets_count_trainable_and_frozen_apart(source: Source) -> None:
    _, addmod = budgets(gather(source)).groups[0]
    direct, meta = addmod
    assert (direct["trainable"].number, direct["frozen"].number) == (200_000, FROZEN)
    assert direct["budget"].number == 218_240
    assert direct["budget_difference_percent"].number == pytest.approx(100 * (200_000 / 218_240 - 1))
    assert meta["budget"].number is None
    assert meta["budget_difference_percent"].number is None
    assert meta["paper"].number == 218_176
    assert meta["paper_difference_percent"].number == pytest.approx(100 * (220_000 / 218_176 - 1))


def test_without_runs_the_budget_is_that_of_the_settings(stored: Source) -> None:
    for path in stored.evaluation("addmod", "direct_mlp").iterdir():
        path.unlink()
    direct = budgets(gather(stored)).groups[0][1][0]
    assert (direct["trainable"].number, direct["budget"].number) == (None, 218_240)
