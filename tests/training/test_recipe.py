"""Recipes: what the grid and the ablations train, where it lies, and that a variant is trained as its settings say."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.evaluation import tables
from pipeline.evaluation.evaluate import evaluate
from pipeline.files import read_json
from pipeline.learners import count
from pipeline.params import Params
from pipeline.training.recipe import recipe, recipes, stage
from pipeline.training.run import Places, RunId, configuration, load_run, train
from tests.helpers import changed, tiny, tiny_values, write_inputs, write_params

STUDY = "ablations-addmod"
CHANGES = {"ablations.families": ["addmod"], "ablations.rows": ["sum_norm", "separate"], "ablations.seeds": [3, 1]}


@pytest.fixture(scope="session")
def ablated() -> Params:
    """Tiny settings with two rows of ablations and two seeds of their own."""
    return tiny(CHANGES)


def test_the_grid_comes_first_then_the_rows_of_the_ablations(ablated: Params) -> None:
    every = list(recipes(ablated))
    cells = len(ablated.grid.families) * len(ablated.grid.learners)
    assert len(every) == cells + 2
    assert [str(of) for of in every[cells:]] == [f"{STUDY}/sum_norm", f"{STUDY}/separate"]
    assert {of.seeds for of in every[:cells]} == {ablated.grid.seeds}
    assert {of.seeds for of in every[cells:]} == {(3, 1)}
    assert {of.family for of in every[cells:]} == {"addmod"}


def test_stages_are_those_of_dvc(ablated: Params) -> None:
    grid, variant = recipe(ablated, "addmod", "meta_mlp"), recipe(ablated, STUDY, "sum_norm")
    assert (stage("addmod", "meta_mlp", 0), grid.evaluation) == ("train@addmod-meta_mlp-0", "evaluate@addmod-meta_mlp")
    assert stage(STUDY, "sum_norm", 3) == "ablate@addmod-sum_norm-3"
    assert variant.evaluation == "evaluate_ablations@addmod"


@pytest.mark.parametrize(
    ("study", "name", "message"),
    [
        ("submod", "meta_mlp", "there is no family 'submod'"),
        ("ablations-submod", "avg", "there is no family 'submod'"),
        ("ablations-", "avg", "there is no family ''"),
        ("addmod", "avg", "there is no learner 'avg'"),
        (STUDY, "meta_mlp", "there is no variant 'meta_mlp'; there are all, per_group"),
        (STUDY, "../avg", "there is no variant '../avg'"),
    ],
)
def test_what_is_not_there_is_refused(ablated: Params, study: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(ablated, study, name)


def test_a_variant_is_trained_with_its_own_settings_and_protocol(tmp_path: Path) -> None:
    params, places, run = (
        tiny({**CHANGES, "ablations.training.steps": 4}),
        Places(tmp_path),
        RunId(STUDY, "sum_norm", 3),
    )
    write_inputs(tmp_path, params, "addmod")
    train(params, run, places=places)
    learner, config = load_run(tmp_path / "data" / "runs" / STUDY / "sum_norm" / "3")
    assert (config["family"], config["learner"], config["seed"]) == ("addmod", "meta_gnn", 3)
    assert (config["settings"]["aggregation"], config["settings"]["use_norm"]) == ("sum", True)
    assert config["training"]["steps"] == read_json(places.log(run))["steps"] == 4
    assert config["parameters"] == count(learner)


def test_a_run_depends_on_its_own_variant_alone(ablated: Params, tmp_path: Path) -> None:
    write_inputs(tmp_path, ablated, "addmod")
    places, run = Places(tmp_path), RunId(STUDY, "separate", 1)
    mine = configuration(ablated, run, places)
    other = tiny({**CHANGES, "ablations.variants.sum_norm.use_norm": False, "ablations.rows": ["separate"]})
    assert configuration(other, run, places) == mine
    for name, value in {"variants.separate.bidirectional": False, "training.steps": 5, "settings.width": 3}.items():
        assert configuration(tiny({**CHANGES, f"ablations.{name}": value}), run, places) != mine


def test_a_variant_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    params, run = tiny({**CHANGES, "ablations.limit": 100}), RunId(STUDY, "separate", 1)
    write_inputs(tmp_path, params, "addmod")
    message = (
        r"ablations\.variants\.separate gives \d+ trainable parameters on addmod, and ablations\.limit is 100; lower"
    )
    with pytest.raises(UserError, match=message):
        train(params, run, places=Places(tmp_path))
    assert not (tmp_path / "data" / "runs").exists()


def test_all_variants_are_evaluated_by_one_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {**CHANGES, "ablations.training.steps": 2, "ablations.training.warmup": 0}
    params = tiny(changes)
    write_inputs(tmp_path, params, "addmod")
    write_params(tmp_path / "params.yaml", changed(tiny_values(), changes))
    for row in params.ablations.rows:
        for seed in params.ablations.seeds:
            train(params, RunId(STUDY, row, seed), places=Places(tmp_path))
    monkeypatch.chdir(tmp_path)
    importlib.import_module("stages.evaluate_ablations").main(["addmod"])
    summary = read_json("data/metrics/evaluations/ablations-addmod.json")
    assert list(summary) == ["separate", "sum_norm"]
    for row in params.ablations.rows:
        accuracy, runs = tables.read(Path("data/evaluations") / STUDY / row)
        measured, entries = evaluate(recipe(params, STUDY, row), Places(), torch.device("cpu"))
        assert runs == entries
        assert accuracy["solved"].tolist() == measured["solved"].tolist()
        assert [run["seed"] for run in runs] == [3, 1]
        assert summary[row]["ood"]["seeds"] == 2
