"""Publishing from outputs alone: everything is there, twice changes nothing, and nothing older is rewritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.params import Params
from pipeline.programs import SPLITS
from pipeline.tracking import download, publish
from pipeline.tracking.describe import settings
from pipeline.tracking.store import CONFIGURATION, OUTPUTS, PARENT, Store
from pipeline.training.run import Places, RunId
from tests.helpers import file_bytes, tiny
from tests.tracking.made_up import (
    FAMILY,
    FIRST,
    LEARNER,
    STEPS,
    config_of,
    curve,
    dump,
    live,
    named,
    row,
    write_outputs,
    write_run,
)


def test_publish_restores_everything_from_outputs(root: Path, grid: Params, capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs(grid)
    Path("dvc.lock").write_text("schema: '2.0'\n")
    publish(grid)
    assert capsys.readouterr().out == "2 published, 0 already there\n"
    found = dump()
    (parent,), (run,) = named(found, f"{FAMILY}/{LEARNER}"), named(found, str(FIRST))
    assert run["tags"][PARENT] == parent["info"]["run_id"]
    assert run["info"]["run_name"] == "meta_mlp seed 0"
    assert run["artefacts"] == {
        name: (Places().run(FIRST) / name).read_bytes() for name in ("config.json", "weights.safetensors")
    }
    assert run["params"] == settings(config_of(grid, FIRST))
    assert run["params"]["parameters.trainable"] == "7"
    assert {key: curve(run, key) for key in run["points"]} == {
        "curve/loss": [(5, 1 / 5), (10, 1 / 10), (12, 1 / 12)],
        "curve/val_accuracy": [(0, 0.0), (5, 0.05), (10, 0.1), (12, 0.12)],
        "curve/val_loss": [(step, 2.5) for step in STEPS],
        "std/W_0": [(step, 0.1 * step) for step in STEPS],
        "curve/selected_step": [(0, 10.0)],
        **{f"accuracy/{split}": [(0, (4 + place) / 10)] for place, split in enumerate(SPLITS)},
    }
    assert {"neurop.dvc.lock", OUTPUTS, CONFIGURATION} < run["tags"].keys()
    assert parent["tags"]["neurop.best_seed"] == "1"
    assert "seed" not in parent["params"]
    statistics = {key: curve(parent, key)[0][1] for key in ("accuracy/ood", "mean/ood", "median/ood", "seeds")}
    assert statistics == {"accuracy/ood": 0.8, "mean/ood": 0.75, "median/ood": 0.75, "seeds": 2.0}


def test_publishing_twice_changes_nothing(root: Path, grid: Params, capsys: pytest.CaptureFixture[str]) -> None:
    live(grid, (0, 5))
    write_outputs(grid)
    publish(grid)
    before = dump()
    publish(grid)
    assert dump() == before
    assert capsys.readouterr().out == "2 published, 0 already there\n0 published, 2 already there\n"


@pytest.mark.parametrize("name", ["weights.safetensors", "accuracy.csv"])
def test_a_publication_cut_short_is_completed(
    name: str, root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Store.upload

    def fail(store: Store, run: str, path: Path) -> None:
        if path.name == name:
            raise OSError("no space left")
        upload(store, run, path)

    write_outputs(grid)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", fail)
        with pytest.raises(UserError, match="no space left"):
            publish(grid)
    publish(grid)
    (run,), (parent,) = named(dump(), str(FIRST)), named(dump(), f"{FAMILY}/{LEARNER}")
    assert len(curve(run, "curve/val_loss")) == len(STEPS)
    assert run["artefacts"].keys() == {"config.json", "weights.safetensors"}
    assert {len(values) for values in parent["points"].values()} == {1}
    assert parent["artefacts"].keys() == {"accuracy.csv", "runs.json"}


def test_a_training_repeated_to_the_same_outputs_is_completed_too(root: Path, grid: Params) -> None:
    write_outputs(grid)
    publish(grid)
    stopped, again = live(grid, STEPS[:2]), live(grid, STEPS)
    stopped.close()
    write_run(grid, FIRST)
    again.close()
    publish(grid)
    found = dump()
    assert len(named(found, str(FIRST))) == 3
    assert OUTPUTS in found[again.run]["tags"]
    assert OUTPUTS not in found[stopped.run]["tags"]
    publish(grid)
    assert dump() == found


def test_another_configuration_is_another_run(root: Path, grid: Params) -> None:
    write_outputs(grid)
    publish(grid)
    before = dump()
    other = tiny(
        {
            "grid.families": [FAMILY],
            "grid.learners": [LEARNER],
            "grid.seeds": [0, 1],
            f"learners.{FAMILY}.{LEARNER}.learning_rate": 0.5,
        }
    )
    write_outputs(other)
    publish(other)
    after = dump()
    assert {key: after[key] for key in before} == before
    assert len(after) == 2 * len(before)
    write_outputs(grid)
    publish(grid)
    assert dump() == after


def test_other_outputs_of_the_same_configuration_are_another_run(root: Path, grid: Params) -> None:
    write_outputs(grid)
    publish(grid)
    (before,) = named(dump(), str(FIRST))
    contradicting = live(grid, STEPS)
    contradicting.close()
    write_run(grid, FIRST, [row(0, step) | {"val_loss": 3.5} for step in STEPS])
    publish(grid)
    runs = {run["info"]["run_id"]: run for run in named(dump(), str(FIRST))}
    assert len(runs) == 3
    assert runs.pop(before["info"]["run_id"]) == before
    assert OUTPUTS not in runs.pop(contradicting.run)["tags"]
    (new,) = runs.values()
    assert curve(new, "curve/val_loss") == [(step, 3.5) for step in STEPS]


def test_a_new_seed_is_published_and_changes_the_statistics(
    root: Path, grid: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    write_outputs(grid)
    publish(grid)
    before = dump()
    more = tiny({"grid.families": [FAMILY], "grid.learners": [LEARNER], "grid.seeds": [0, 1, 2]})
    write_outputs(more)
    publish(more)
    assert capsys.readouterr().out.endswith("1 published, 2 already there\n")
    (parent,) = named(dump(), f"{FAMILY}/{LEARNER}")
    assert parent["tags"]["neurop.best_seed"] == "2"
    current = Store.connect().client.get_run(parent["info"]["run_id"]).data.metrics
    assert current["seeds"] == 3.0
    assert current["accuracy/ood"] == 0.9
    for seed in (0, 1):
        name = f"{FAMILY}/{LEARNER}/{seed}"
        assert named(dump(), name) == named(before, name)


def test_variants_are_rows_of_an_experiment_of_their_own(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    params = tiny(
        {
            "grid.families": [FAMILY],
            "grid.learners": [LEARNER],
            "ablations.families": [FAMILY],
            "ablations.rows": ["avg", "separate"],
            "ablations.seeds": [1],
        }
    )
    write_outputs(params)
    first = RunId(f"ablations-{FAMILY}", "avg", 1)
    followed = live(params, STEPS[:2], first)
    publish(params)
    assert capsys.readouterr().out == "4 published, 0 already there\n"
    found = dump()
    (parent,), (run,) = named(found, f"ablations-{FAMILY}/avg"), named(found, str(first))
    assert run["info"]["run_id"] == followed.run
    assert run["tags"][PARENT] == parent["info"]["run_id"]
    assert run["tags"]["mlflow.source.name"] == f"ablate@{FAMILY}-avg-1"
    assert (run["params"]["learner"], run["params"]["settings.aggregation"]) == ("meta_gnn", "avg")
    assert parent["info"]["run_name"] == "avg"
    names = {e.name for e in Store.connect().client.search_experiments()}
    assert {f"neurop/{FAMILY}", f"neurop/ablations-{FAMILY}"} <= names
    download(params, first.study, "avg", tmp_path / "fetched")
    assert file_bytes(tmp_path / "fetched") == file_bytes(Path("data/evaluations") / first.study / "avg")


def test_statistics_without_a_variant_are_told(root: Path, grid: Params, capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs(grid)
    params = tiny(
        {
            "grid.families": [FAMILY],
            "grid.learners": [LEARNER],
            "ablations.families": [FAMILY],
            "ablations.rows": ["avg"],
            "ablations.seeds": [1],
        }
    )
    write_outputs(params)
    write_json(Path("data/metrics/evaluations") / f"ablations-{FAMILY}.json", {})
    with pytest.raises(UserError, match=f"for want of outputs: ablations-{FAMILY}/avg/1; run `dvc repro`"):
        publish(params)
    assert f"ablations-{FAMILY}.json lacks avg; run `dvc repro`" in capsys.readouterr().err


def test_children_move_to_a_new_parent_when_theirs_was_deleted(root: Path, grid: Params) -> None:
    write_outputs(grid)
    publish(grid)
    (run,) = named(dump(), str(FIRST))
    Store.connect().client.delete_run(run["tags"][PARENT])
    publish(grid)
    (run,) = named(dump(), str(FIRST))
    (parent,) = [p for p in named(dump(), f"{FAMILY}/{LEARNER}") if p["info"]["lifecycle_stage"] == "active"]
    assert run["tags"][PARENT] == parent["info"]["run_id"]
    assert parent["tags"]["neurop.best_seed"] == "1"


def test_published_evaluations_come_back_as_the_same_bytes(root: Path, grid: Params, tmp_path: Path) -> None:
    write_outputs(grid)
    with pytest.raises(UserError, match="run `neurop publish`"):
        download(grid, FAMILY, LEARNER, tmp_path / "fetched")
    publish(grid)
    download(grid, FAMILY, LEARNER, tmp_path / "fetched")
    assert file_bytes(tmp_path / "fetched") == file_bytes(Path("data/evaluations") / FAMILY / LEARNER)
