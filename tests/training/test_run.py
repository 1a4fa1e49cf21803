"""One run on disk: what it writes, what it depends on, what it refuses, and how it is read back."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import UserError
from pipeline.files import read_json, read_parquet, write_json, write_parquet
from pipeline.learners import count
from pipeline.params import LEARNERS, Params
from pipeline.programs import make_family
from pipeline.programs.tables import read_split
from pipeline.templates import Mlp
from pipeline.training import checkpoint
from pipeline.training.loop import Hooks, Interrupted
from pipeline.training.measure import measure
from pipeline.training.run import (
    Places,
    RunId,
    configuration,
    history_table,
    load_run,
    scratch_key,
    seeded_learner,
    train,
)
from tests.helpers import file_bytes, inputs, make, same_bits, tiny, write_inputs

RUN = RunId("sumfirst", "meta_mlp", 3)
CPU = torch.device("cpu")


@pytest.fixture
def copy(tmp_path: Path, trained: tuple[Places, RunId]) -> Path:
    """A copy of the finished run's directory, to damage."""
    places, run = trained
    return Path(shutil.copytree(places.run(run), tmp_path / "copy"))


def test_a_run_leaves_four_files_and_a_log(trained: tuple[Places, RunId]) -> None:
    places, run = trained
    assert set(file_bytes(places.run(run))) == {
        "weights.safetensors",
        "last.safetensors",
        "history.parquet",
        "config.json",
    }
    assert set(read_json(places.log(run))) >= {"device", "seconds", "steps", "resumed", "torch"}
    assert not list((places.root / ".scratch").rglob("*.safetensors"))


def test_the_configuration_holds_all_that_determines_the_run(params: Params, trained: tuple[Places, RunId]) -> None:
    places, run = trained
    config = read_json(places.run(run) / "config.json")
    found = {"parameters", "selected", "diverged"}
    assert {key: value for key, value in config.items() if key not in found} == configuration(params, run, places)
    assert config["settings"] == params.learner("sumfirst", "meta_mlp").model_dump(mode="json")
    assert config["parameters"] == count(make(params, "sumfirst", "meta_mlp"))
    assert (config["family"], config["learner"], config["seed"], config["diverged"]) == (
        "sumfirst",
        "meta_mlp",
        3,
        False,
    )
    text = (places.run(run) / "config.json").read_text()
    assert str(places.root) not in text


def test_the_kept_weights_score_what_the_configuration_says(params: Params, trained: tuple[Places, RunId]) -> None:
    places, run = trained
    learner, config = load_run(places.run(run))
    split = read_split(places.splits("sumfirst"), learner.family, "val")
    measured = measure(learner, torch.from_numpy(learner.family.codes(split.intents)), split)
    assert measured.accuracy == config["selected"]["val_accuracy"]
    assert measured.mean_loss == config["selected"]["val_loss"]
    assert same_bits(learner.state_dict(), load_file(places.run(run) / "weights.safetensors"))


def test_nothing_but_train_and_val_is_read(params: Params, places: Places) -> None:
    train(params, RUN, places=places)
    before = file_bytes(places.run(RUN))
    for split in ("test", "ood"):
        (places.splits("sumfirst") / f"{split}.parquet").unlink()
    train(params, RUN, places=places)
    assert file_bytes(places.run(RUN)) == before


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_is_read_back(params: Params, places: Places, learner: str) -> None:
    short = tiny({"training.addmod.steps": 2})
    run = RunId("addmod", learner, 1)
    train(short, run, places=places)
    loaded, config = load_run(places.run(run))
    again, _ = load_run(places.run(run))
    family = make_family(params, "addmod")
    u = torch.from_numpy(family.codes(family.intents("ood")))
    x, y = inputs(family, 5, split="ood")
    assert torch.equal(loaded(u, x, y), again(u, x, y))
    assert loaded(u, x, y).isfinite().all()
    assert config["parameters"] == count(loaded)


def test_a_learner_may_train_for_fewer_steps_than_its_family(places: Places) -> None:
    train(tiny({"learners.sumfirst.meta_mlp.steps": 5}), RUN, places=places)
    assert read_json(places.log(RUN))["steps"] == 5
    steps = pq.read_table(places.run(RUN) / "history.parquet").column("step").to_pylist()
    assert steps[-1] == 5
    assert read_json(places.run(RUN) / "config.json")["settings"]["steps"] == 5


def test_an_interrupted_run_leaves_no_outputs_and_ends_in_the_same_bytes(
    params: Params, places: Places, trained: tuple[Places, RunId]
) -> None:
    with pytest.raises(Interrupted, match="stopped at step 1;"):
        train(params, RUN, Hooks(stop=lambda: True), places)
    assert not places.run(RUN).exists()
    (saved,) = (places.root / ".scratch").rglob("checkpoint.safetensors")
    tensors, state = checkpoint.load(saved)
    checkpoint.save(saved, tensors, {**state, "seconds": 1000.0})
    train(params, RUN, places=places)
    assert file_bytes(places.run(RUN)) == file_bytes(trained[0].run(trained[1]))
    log = read_json(places.log(RUN))
    assert (log["resumed"], log["steps"]) == (1, 12)
    assert log["seconds"] > 1000.0


def test_scratch_is_keyed_by_all_that_determines_the_run(params: Params, places: Places) -> None:
    def key(settings: Params, run: RunId = RUN) -> str:
        return scratch_key(configuration(settings, run, places), CPU)

    keys = {key(params), key(params, RunId("sumfirst", "meta_mlp", 4)), key(params, RunId("sumfirst", "meta_gmlp", 3))}
    for changes in (
        {"learners.sumfirst.meta_mlp.learning_rate": 0.5},
        {"training.sumfirst.steps": 13},
        {"programs.sumfirst.val": 41},
    ):
        keys.add(key(tiny(changes)))
    assert (
        key(tiny({"learners.addmod.meta_mlp.learning_rate": 0.5, "grid.seeds": [9], "evaluation.bootstrap": 7})) in keys
    )
    assert len(keys) == 6
    path = places.splits("sumfirst") / "ood.parquet"
    path.write_bytes(b"other")
    assert key(params) in keys
    for split in ("train", "val"):
        path = places.splits("sumfirst") / f"{split}.parquet"
        content, table = path.read_bytes(), read_parquet(path)
        pq.write_table(table, path, compression="none")  # other bytes, the same examples
        assert key(params) in keys
        write_parquet(path, table.slice(1))
        assert key(params) not in keys
        path.write_bytes(content)
    assert key(params) in keys
    assert scratch_key(configuration(params, RUN, places), torch.device("cuda")) not in keys


def test_one_process_trains_a_run_at_a_time(params: Params, places: Places) -> None:
    key = scratch_key(configuration(params, RUN, places), CPU)
    with checkpoint.locked(places.scratch(key)), pytest.raises(UserError, match="another process trains this run now"):
        train(params, RUN, places=places)
    train(params, RUN, places=places)
    assert places.run(RUN).exists()


def test_a_train_intent_without_examples_is_refused(tmp_path: Path) -> None:
    params = tiny({"programs.sumfirst.train": 2})
    write_inputs(tmp_path, params, "sumfirst")
    with pytest.raises(UserError, match=r"train.parquet holds no example of n=3; ask for more"):
        train(params, RUN, places=Places(tmp_path))


def test_missing_inputs_are_refused(params: Params, places: Places) -> None:
    (places.splits("sumfirst") / "val.parquet").rename(places.root / "val")
    with pytest.raises((UserError, FileNotFoundError), match=r"val.parquet"):
        train(params, RUN, places=places)
    (places.root / "val").rename(places.splits("sumfirst") / "val.parquet")
    places.template("sumfirst").unlink()
    with pytest.raises(UserError, match=r"template.json is missing; run `dvc repro`"):
        train(params, RUN, places=places)


def test_a_diverging_run_is_marked(tmp_path: Path, places: Places) -> None:
    params = tiny({"learners.sumfirst.meta_mlp.learning_rate": 1e30})
    train(params, RUN, places=places)
    config = read_json(places.run(RUN) / "config.json")
    assert config["diverged"] is True
    assert math.isfinite(config["selected"]["val_loss"])
    assert all(value.isfinite().all() for value in load_file(places.run(RUN) / "weights.safetensors").values())
    assert "NaN" not in (places.run(RUN) / "config.json").read_text()


def test_initial_parameters_depend_on_the_seed_alone(params: Params) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = make(params, "addmod", "meta_gmlp", 0)
    assert torch.equal(torch.rand(3), expected)  # and no other generator is disturbed
    same, other = make(params, "addmod", "meta_gmlp", 0), make(params, "addmod", "meta_gmlp", 1)
    assert same_bits(one.state_dict(), same.state_dict())
    assert not same_bits(one.state_dict(), other.state_dict())


def test_matching_a_budget_draws_no_numbers(params: Params) -> None:
    family, template = make_family(params, "addmod"), make(params, "addmod", "meta_mlp").template
    section = params.learner("addmod", "meta_mlp")
    plain = seeded_learner("meta_mlp", family, template, section, 0)
    kept = section.model_copy(update={"budget": count(plain)["trainable"]})
    assert same_bits(plain.state_dict(), seeded_learner("meta_mlp", family, template, kept, 0).state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"family": "submod"},
        {"learner": "meta_magic"},
        {"settings": {}},
        {"program": {"seed": 0}},
        {"program": None},
        {"template": {"kind": "cnn"}},
    ],
    ids=str,
)
def test_another_configuration_is_refused(copy: Path, changes: dict[str, Any]) -> None:
    write_json(copy / "config.json", {**read_json(copy / "config.json"), **changes})
    with pytest.raises(
        UserError, match=r"config.json (is not the configuration of a run|does not describe a template)"
    ):
        load_run(copy)


def test_a_damaged_or_missing_configuration_is_refused(copy: Path) -> None:
    for content in ("[]", "{}", "3", "null"):
        (copy / "config.json").write_text(content)
        with pytest.raises(UserError, match="is not the configuration of a run"):
            load_run(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        load_run(copy)
    (copy / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json is missing; run `dvc repro`"):
        load_run(copy)


def test_truncated_and_missing_weights_are_refused(copy: Path) -> None:
    path = copy / "weights.safetensors"
    for keep in (0, 20, len(path.read_bytes()) - 1):
        path.write_bytes((copy / "last.safetensors").read_bytes()[:keep])
        with pytest.raises(
            UserError, match=r"weights.safetensors does not hold this run's weights .*; delete"
        ) as error:
            load_run(copy)
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(UserError, match=r"weights.safetensors is missing; run `dvc repro`"):
        load_run(copy)


def test_weights_of_another_template_are_refused(copy: Path) -> None:
    config = read_json(copy / "config.json")
    write_json(copy / "config.json", {**config, "template": Mlp((5, 7, 1)).spec()})
    with pytest.raises(UserError, match=r"weights.safetensors does not hold this run's weights") as error:
        load_run(copy)
    assert "\n" not in str(error.value)


def test_history_is_a_table_of_the_rows() -> None:
    rows = [
        {"step": 0, "loss": math.nan, "std.W": 1.5},
        {"step": 7, "loss": 0.5, "std.W": 2.0},
        {"step": 9, "loss": 1.0},
    ]
    table = history_table(rows)
    assert table.column_names == ["step", "loss", "std.W"]
    assert table.schema.types == [pa.int64(), pa.float64(), pa.float64()]
    assert table["step"].to_pylist() == [0, 7, 9]
    assert table["std.W"].to_pylist() == [1.5, 2.0, None]
    assert json.dumps(table["loss"].to_pylist()) == "[NaN, 0.5, 1.0]"


def test_names_of_runs_and_places() -> None:
    places = Places(Path("root"))
    assert str(RUN) == "sumfirst/meta_mlp/3"
    assert places.run(RUN) == Path("root/data/runs/sumfirst/meta_mlp/3")
    assert places.log(RUN) == Path("root/logs/sumfirst-meta_mlp-3.json")
    assert Places().splits("addmod") == Path("data/splits/addmod")
