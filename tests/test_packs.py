"""Packs of seeds: how they are written, and where their runs are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packs import MOST_SEEDS, Pack
from pipeline.training.recipe import RunId, recipe
from pipeline.training.run import Places
from tests.helpers import tiny


@given(st.integers(0, 10**9), st.integers(0, 20))
def test_a_pack_is_read_as_it_is_written(first: int, more: int) -> None:
    pack = Pack(tuple(range(first, first + more + 1)))
    assert Pack.parse(str(pack)) == pack
    assert str(pack) == (f"{first}-{first + more}" if more else str(first))


@pytest.mark.parametrize(
    "text", ["", "-1", "a-b", "9-0", "3-3", "0-", "-0-3", "0-9-12", "00-3", "1.5", " 3", "3\n", "٣", "0–9", "../3"]
)
def test_what_is_no_pack_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no "):
        Pack.parse(text)


def test_a_pack_of_too_many_seeds_is_refused() -> None:
    assert len(Pack.parse(f"1-{MOST_SEEDS}").seeds) == MOST_SEEDS
    for last in (MOST_SEEDS, 10**17):
        with pytest.raises(ValueError, match="take several smaller ones"):
            Pack.parse(f"0-{last}")


def test_the_runs_of_a_recipe_know_their_packs_and_places() -> None:
    of = recipe(tiny({"grid.seeds": ["2-4", 0, "8-9"]}), "addmod", "meta_mlp")
    places = Places(Path("root"))
    assert [str(pack) for pack in of.packs] == ["2-4", "0", "8-9"]
    assert of.seeds == (2, 3, 4, 0, 8, 9)
    assert [str(run) for run in of.runs] == [f"addmod/meta_mlp/{seed}" for seed in of.seeds]
    assert of.run(3) == RunId("addmod", "meta_mlp", 3, Pack((2, 3, 4)))
    assert of.run(3).together == of.runs[:3]
    assert of.run(0) == RunId("addmod", "meta_mlp", 0)
    assert of.run(0).together == (of.run(0),)
    assert of.run(7) == RunId("addmod", "meta_mlp", 7)  # of no pack: alone
    runs = Path("root/data/runs/addmod/meta_mlp")
    assert [places.run(run) for run in of.runs[:4]] == [runs / "2-4/2", runs / "2-4/3", runs / "2-4/4", runs / "0"]
    assert [places.output(run) for run in of.runs[2:4]] == [runs / "2-4", runs / "0"]
    assert places.log(of.run(3)) == Path("root/logs/addmod-meta_mlp-3.json")
    assert of.run(3).stage == "train@addmod-meta_mlp-2-4"
    assert of.run(3).command == "python -m stages.train addmod meta_mlp 2-4"
    assert of.run(0).title == "addmod/meta_mlp/0"


def test_a_pack_of_one_seed_is_that_seed() -> None:
    run = RunId("addmod", "meta_mlp", 3, Pack((3,)))
    assert (run.title, run.together) == ("addmod/meta_mlp/3", (RunId("addmod", "meta_mlp", 3),))
    assert Places().run(run) == Path("data/runs/addmod/meta_mlp/3")
