"""Which runs are missing, in which order; inputs that are made where they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.offsite.inputs import prepare
from pipeline.offsite.missing import chosen, missing
from pipeline.paper import kept
from pipeline.params import Params
from pipeline.training.loop import Hooks, Interrupted
from pipeline.training.recipe import RunId, recipe
from pipeline.training.run import Places, train
from tests.helpers import ROOT, changed, file_bytes, paper_values, tiny, tiny_values, write_inputs, write_params

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "grid.families": ["sumfirst", "addmod"],
    "grid.learners": ["direct_mlp", "meta_mlp"],
    "grid.seeds": [0, 1],
    "training.sumfirst.steps": 2,
}


@pytest.fixture
def small() -> Params:
    """A grid of two families, two learners and two seeds."""
    return tiny(SMALL)


def titles(params: Params, places: Places, *only: str) -> list[str]:
    return [item.run.title for item in missing(params, places, CPU, only)]


def test_all_recipes_come_before_a_second_seed_of_one(small: Params, tmp_path: Path) -> None:
    assert titles(small, Places(tmp_path)) == [
        f"{family}/{learner}/{seed}"
        for seed in (0, 1)
        for family in ("sumfirst", "addmod")
        for learner in ("direct_mlp", "meta_mlp")
    ]


def test_finished_runs_are_not_missing_and_their_recipe_waits(small: Params, tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_inputs(tmp_path, small, "sumfirst")
    train(small, RunId("sumfirst", "direct_mlp", 1), places=places)
    only = ("sumfirst-direct_mlp", "sumfirst-meta_mlp")
    assert titles(small, places, *only) == ["sumfirst/meta_mlp/0", "sumfirst/direct_mlp/0", "sumfirst/meta_mlp/1"]


def test_half_way_goes_before_fresh_ones_of_its_rank(small: Params, tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_inputs(tmp_path, small, "sumfirst")
    with pytest.raises(Interrupted):
        train(small, RunId("sumfirst", "meta_mlp", 1), Hooks(stop=lambda: True), places)
    found = missing(small, places, CPU, ["sumfirst-direct_mlp", "sumfirst-meta_mlp"])
    assert [item.run.title for item in found] == [
        "sumfirst/meta_mlp/1",
        "sumfirst/direct_mlp/0",
        "sumfirst/direct_mlp/1",
        "sumfirst/meta_mlp/0",
    ]
    assert [item.half_way(places) for item in found] == [True, False, False, False]


def test_a_pack_is_one_item(tmp_path: Path) -> None:
    params, places = tiny({**SMALL, "grid.seeds": ["0-1", 2]}), Places(tmp_path)
    assert titles(params, places, "sumfirst-meta_mlp") == ["sumfirst/meta_mlp/0-1", "sumfirst/meta_mlp/2"]
    train(params, recipe(params, "sumfirst", "meta_mlp").run(0), places=places)
    assert titles(params, places, "sumfirst-meta_mlp") == ["sumfirst/meta_mlp/2"]
    (places.root / "data/runs/sumfirst/meta_mlp/0-1/1/last.safetensors").unlink()
    assert titles(params, places, "sumfirst-meta_mlp") == ["sumfirst/meta_mlp/0-1", "sumfirst/meta_mlp/2"]


@pytest.mark.parametrize("damage", ["other settings", "missing file", "no json", "no object"])
def test_outputs_that_are_not_those_of_the_settings_are_missing(damage: str, small: Params, tmp_path: Path) -> None:
    places, run = Places(tmp_path), RunId("sumfirst", "meta_mlp", 0)
    write_inputs(tmp_path, small, "sumfirst")
    train(small, run, places=places)
    assert run.title not in titles(small, places)
    if damage == "other settings":
        small = tiny({**SMALL, "learners.sumfirst.meta_mlp.learning_rate": 0.5})
    elif damage == "missing file":
        (places.run(run) / "history.parquet").unlink()
    else:
        (places.run(run) / "config.json").write_text("{" if damage == "no json" else "[]")
    assert run.title in titles(small, places)


def test_recipes_are_chosen_by_name(tmp_path: Path) -> None:
    params = tiny({**SMALL, "ablations.families": ["addmod"], "ablations.rows": ["avg"]})
    assert [str(of) for of in chosen(params, ["ablations-addmod-avg", "addmod-meta_mlp"])] == [
        "addmod/meta_mlp",
        "ablations-addmod/avg",
    ]
    with pytest.raises(UserError, match=r"params.yaml has no recipe '../x'; it has sumfirst-direct_mlp, "):
        missing(params, Places(tmp_path), CPU, ["../x"])
    assert not list(tmp_path.iterdir())


def test_inputs_are_those_of_the_stages(small: Params, tmp_path: Path) -> None:
    made, staged = Places(tmp_path / "made"), Places(tmp_path / "staged")
    prepare(small, ["addmod"], made)
    write_inputs(staged.root, small, "addmod")
    assert file_bytes(made.splits("addmod")) == file_bytes(staged.splits("addmod"))
    assert made.template("addmod").read_bytes() == staged.template("addmod").read_bytes()


def test_inputs_of_other_settings_are_made_again_and_good_ones_left_alone(small: Params, places: Places) -> None:
    before = file_bytes(places.splits("sumfirst"))
    times = [path.stat().st_mtime_ns for path in sorted(places.splits("sumfirst").iterdir())]
    prepare(small, ["sumfirst"], places)
    assert [path.stat().st_mtime_ns for path in sorted(places.splits("sumfirst").iterdir())] == times
    prepare(tiny({**SMALL, "programs.sumfirst.seed": 7, "templates.sumfirst.hidden": [3]}), ["sumfirst"], places)
    assert file_bytes(places.splits("sumfirst")) != before
    assert read_json(places.template("sumfirst"))["sizes"] == [5, 3, 1]
    (places.splits("sumfirst") / "test.parquet").write_bytes(b"damaged")
    prepare(small, ["sumfirst"], places)
    assert file_bytes(places.splits("sumfirst")) == before


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A root in which the tiny settings are the paper's, and whose results keep seed 1 of sumfirst/meta_mlp."""
    values = changed(tiny_values(), SMALL)
    values["grid"]["seeds"] = [0]
    (tmp_path / "profiles").mkdir()
    write_params(tmp_path / "profiles" / "paper.yaml", values)
    of = recipe(tiny(SMALL), "sumfirst", "meta_mlp").values()
    run = {"seed": 1, "settings": of["settings"], "training": of["training"]}
    write_json(tmp_path / "results/paper/evaluations/sumfirst/meta_mlp/runs.json", [run])
    return tmp_path


def test_what_is_kept_in_git_is_not_missing(small: Params, profile: Path) -> None:
    places = Places(profile)
    assert titles(small, places, "sumfirst-meta_mlp") == ["sumfirst/meta_mlp/0"]
    assert titles(small, places)[:2] == [
        "sumfirst/direct_mlp/0",
        "addmod/direct_mlp/0",
    ]  # meta_mlp has one seed already
    pack = tiny({**SMALL, "grid.seeds": ["0-1"]})
    assert titles(pack, places, "sumfirst-meta_mlp") == ["sumfirst/meta_mlp/0-1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"learners.sumfirst.meta_mlp.learning_rate": 0.5},
        {"training.sumfirst.steps": 3},
        {"programs.sumfirst.seed": 1},
        {"templates.sumfirst.hidden": [7]},
    ],
    ids=str,
)
def test_what_is_kept_counts_for_the_papers_settings_only(profile: Path, changes: dict[str, Any]) -> None:
    params = tiny({**SMALL, **changes})
    assert kept(params, recipe(params, "sumfirst", "meta_mlp"), profile) == set()


def test_runs_kept_under_other_settings_do_not_count(small: Params, profile: Path) -> None:
    path, of = profile / "results/paper/evaluations/sumfirst/meta_mlp/runs.json", recipe(small, "sumfirst", "meta_mlp")
    (run,) = read_json(path)
    assert kept(small, of, profile) == {1}
    for change in ({"settings": {**run["settings"], "spread": 9.0}}, {"training": {}}, {"settings": {}}):
        write_json(path, [{**run, **change}])
        assert kept(small, of, profile) == set()


def test_the_kept_runs_of_the_repository_count() -> None:
    params = Params.model_validate(paper_values())
    assert {0, 1, 2, 3} <= kept(params, recipe(params, "addmod", "meta_mlp"), ROOT)
