"""Evaluating a saved run: equal to a loop over examples with the saved weights; wrong files are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.errors import UserError
from pipeline.evaluation.evaluate import COLUMNS, configuration_digest, evaluate_run
from pipeline.files import read_json, write_json
from pipeline.params import Params
from pipeline.programs import SPLITS, make_family
from pipeline.templates import Mlp
from pipeline.training.run import Places, RunId, load_run
from tests.helpers import tiny, write_inputs

CPU = torch.device("cpu")


@pytest.fixture
def evaluated(trained: tuple[Places, RunId]) -> tuple[pd.DataFrame, dict[str, object]]:
    places, run = trained
    return evaluate_run(places.run(run), places.splits(run.study), CPU)


def test_a_row_for_every_split_and_intent(
    params: Params, trained: tuple[Places, RunId], evaluated: tuple[pd.DataFrame, dict[str, object]]
) -> None:
    accuracy, _ = evaluated
    family = make_family(params, "sumfirst")
    learner, _ = load_run(trained[0].run(trained[1]))
    splits = family.generate()
    assert list(accuracy.columns) == COLUMNS
    expected = [(s, str(u)) for s in SPLITS for u in family.intents(s)]
    assert list(zip(accuracy["split"], accuracy["intent"], strict=True)) == expected
    assert set(accuracy["seed"]) == {3}
    for row in accuracy.itertuples():
        intent, examples = family.parse(str(row.intent)), splits[str(row.split)]
        mine = examples.intent == examples.intents.index(intent)
        u = torch.from_numpy(family.code(intent))[None]
        x, y = torch.from_numpy(examples.x[mine])[None], torch.from_numpy(examples.y[mine])[None]
        with torch.no_grad():
            output = learner(u, x, y)
        assert row.kind == "n"
        assert row.examples == mine.sum()
        assert row.solved == int((output.round() == y).sum())
        assert row.loss == pytest.approx(float((output - y).square().mean()), rel=1e-5)


def test_the_run_is_identified(
    trained: tuple[Places, RunId], evaluated: tuple[pd.DataFrame, dict[str, object]]
) -> None:
    config, run = read_json(trained[0].run(trained[1]) / "config.json"), evaluated[1]
    assert run["seed"] == 3
    for key in ("settings", "training", "parameters", "selected", "diverged"):
        assert run[key] == config[key]
    assert run["configuration"] == configuration_digest(config)
    found = {"selected": {}, "parameters": {}, "diverged": True}
    assert configuration_digest({**config, **found}) == run["configuration"]
    for key in ("seed", "settings", "training", "program", "template", "data"):
        assert configuration_digest({**config, key: "other"}) != run["configuration"]


def test_an_intent_without_examples_has_no_loss(tmp_path: Path, trained: tuple[Places, RunId]) -> None:
    places, run = trained
    params = tiny({"programs.sumfirst.test": 2})
    write_inputs(tmp_path, params, "sumfirst")
    accuracy, _ = evaluate_run(places.run(run), Places(tmp_path).splits("sumfirst"), CPU)
    empty = accuracy[(accuracy["split"] == "test") & (accuracy["intent"] == "n=3")].iloc[0]
    assert (empty["examples"], empty["solved"]) == (0, 0)
    assert pd.isna(empty["loss"])
    assert accuracy["loss"].isna().sum() == 1


def test_other_weights_and_other_splits_are_refused(tmp_path: Path, trained: tuple[Places, RunId]) -> None:
    places, run = trained
    copy = Path(shutil.copytree(places.run(run), tmp_path / "copy"))
    config = read_json(copy / "config.json")
    write_json(copy / "config.json", {**config, "template": Mlp((5, 9, 1)).spec()})
    with pytest.raises(UserError, match=r"weights.safetensors does not hold this run's weights"):
        evaluate_run(copy, places.splits(run.study), CPU)
    write_json(copy / "config.json", config)
    (copy / "weights.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(UserError, match=r"weights.safetensors does not hold this run's weights"):
        evaluate_run(copy, places.splits(run.study), CPU)
    (copy / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights.safetensors is missing"):
        evaluate_run(copy, places.splits(run.study), CPU)
    write_inputs(tmp_path, tiny({"programs.sumfirst.length": 6}), "sumfirst")
    with pytest.raises(UserError, match=r"train.parquet was made with other settings"):
        evaluate_run(places.run(run), tmp_path / "data" / "splits" / "sumfirst", CPU)
