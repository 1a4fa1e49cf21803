"""Packs: each seed as if it trained alone, whatever the others do; resumed to the same bits; a directory each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipeline.evaluation.evaluate import evaluate
from pipeline.files import read_json, read_parquet
from pipeline.packs import Pack
from pipeline.params import LEARNERS, Params
from pipeline.programs import make_family
from pipeline.programs.tables import read_split
from pipeline.training import loop
from pipeline.training.loop import Hooks, Interrupted, Trainer
from pipeline.training.recipe import RunId, pack_runs, recipe
from pipeline.training.run import Places, configuration, load_run, train
from pipeline.training.selection import Row, Selection
from tests.helpers import file_bytes, inputs, make, same_bits, tiny, write_inputs
from tests.training.test_loop import CELLS, stop_after

# The stated tolerance, of the losses of examples and of their means, after the same steps alone and in a pack. Not of
# parameters: where the loss does not depend on one, it follows the rounding of its gradient, which Adam amplifies.
RELATIVE = 1e-4
SEEDS = (2, 3, 4)
PACK = pack_runs("sumfirst", "meta_mlp", Pack(SEEDS))


def trainer(params: Params, places: Places, cell: tuple[str, str], seeds: tuple[int, ...], scratch: str) -> Trainer:
    family, name = cell
    train, val = (read_split(places.splits(family), make_family(params, family), split) for split in ("train", "val"))
    learners = {seed: make(params, family, name, seed) for seed in seeds}
    section, training = params.learner(family, name), getattr(params.training, family)
    return Trainer(learners, section, training, train, val, places.root / scratch)


def trained(params: Params, places: Places, cell: tuple[str, str], seeds: tuple[int, ...]) -> Trainer:
    made = trainer(params, places, cell, seeds, "never")
    made.run("pack", Hooks())
    return made


def outcome(selection: Selection) -> tuple[str, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    return json.dumps(vars(selection.progress)), selection.last, selection.best


def same(left: Selection, right: Selection) -> bool:
    (progress, last, best), (progress_, last_, best_) = outcome(left), outcome(right)
    return progress == progress_ and same_bits(last, last_) and same_bits(best, best_)


@pytest.mark.parametrize("meta_batch", [None, 2])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_seed_of_a_pack_agrees_with_the_seed_alone(
    places: Places, cell: tuple[str, str], meta_batch: int | None
) -> None:
    family, name = cell
    params = tiny(
        {
            f"training.{family}.steps": 40,
            f"training.{family}.meta_batch": meta_batch,
            f"learners.{family}.{name}.weight_decay": 0.1,
        }
    )
    agrees(params, places, cell)


@pytest.mark.parametrize("name", ["meta_mlp", "meta_gnn"])
def test_and_where_the_intent_leaves_tensors_alone(places: Places, name: str) -> None:
    section = f"learners.sumfirst.{name}"
    params = tiny({f"{section}.intent_slots": "ordered", f"{section}.gradient_clip": 0.3})
    agrees(params, places, ("sumfirst", name))


def agrees(params: Params, places: Places, cell: tuple[str, str]) -> None:
    """Check that each seed of a pack has the losses that it has alone."""
    family = cell[0]
    pack = trained(params, places, cell, SEEDS)
    program = make_family(params, family)
    x, y = inputs(program, 7, split="val")
    for seed, ours in pack.selections.items():
        alone = trained(params, places, cell, (seed,)).selections[seed]
        for mine, theirs in zip(ours.progress.history, alone.progress.history, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=RELATIVE, nan_ok=True)
            assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=RELATIVE)
            assert mine["learning_rate"] == theirs["learning_rate"]
        assert ours.progress.best_step == alone.progress.best_step
        with torch.no_grad():
            losses, expected = (program.loss(each.learner(pack.u_val, x, y), y) for each in (ours, alone))
        torch.testing.assert_close(losses, expected, rtol=RELATIVE, atol=RELATIVE)


@pytest.mark.parametrize("row", ["avg", "separate", "all"])
def test_variants_agree_where_modules_are_shared_or_unused(tmp_path: Path, row: str) -> None:
    params = tiny({"ablations.families": ["addmod"]})
    write_inputs(tmp_path, params, "addmod")
    pack = pack_runs("ablations-addmod", row, Pack((0, 1)))
    for each in (pack[0], RunId("ablations-addmod", row, 0), RunId("ablations-addmod", row, 1)):
        train(params, each, places=Places(tmp_path))
    for run in pack:
        ours, alone = (
            read_parquet(Places(tmp_path).run(of) / "history.parquet", ["step", "loss", "val_loss"]).to_pylist()
            for of in (run, RunId(run.study, run.name, run.seed))
        )
        for mine, theirs in zip(ours, alone, strict=True):
            assert mine == pytest.approx(theirs, rel=RELATIVE, nan_ok=True)


@pytest.mark.parametrize("pieces", [[1], [5], [3, 4], [12]], ids=str)
def test_a_stopped_pack_ends_in_the_same_bits(
    places: Places, monkeypatch: pytest.MonkeyPatch, pieces: list[int]
) -> None:
    monkeypatch.setattr("pipeline.training.batches.CHUNK", 4)
    params, cell = tiny({"training.addmod.meta_batch": 2}), ("addmod", "meta_gnn")
    for piece in pieces:
        with pytest.raises(Interrupted):
            trainer(params, places, cell, SEEDS, "pieces").run("pieces", Hooks(stop=stop_after(piece)))
    made = trainer(params, places, cell, SEEDS, "pieces")
    assert made.number == sum(pieces)
    made.run("pieces", Hooks())
    straight = trained(params, places, cell, SEEDS)
    for seed in SEEDS:
        assert same(made.selections[seed], straight.selections[seed])


def spoilt(made: Trainer, seed: int) -> Trainer:
    """The trainer with one seed's parameters so large that its loss is no number."""
    with torch.no_grad():
        for parameter in made.selections[seed].learner.parameters():
            parameter.fill_(1e30)
    return made


@pytest.mark.parametrize("cell", [("sumfirst", "meta_mlp"), ("addmod", "meta_gnn")], ids=str)
def test_a_seed_that_diverges_disturbs_no_other(places: Places, cell: tuple[str, str]) -> None:
    params, rows = tiny(), []
    made = spoilt(trainer(params, places, cell, SEEDS, "never"), 3)
    made.run("pack", Hooks(on_row=lambda seed, row: rows.append((seed, int(row["step"])))))
    undisturbed = trained(params, places, cell, SEEDS)
    for seed in (2, 4):
        assert same(made.selections[seed], undisturbed.selections[seed])
        assert not made.selections[seed].progress.diverged
    assert made.selections[3].progress.diverged
    assert rows == [(seed, 0) for seed in SEEDS] + [(seed, 5) for seed in SEEDS] + [
        (seed, step) for step in (10, 12) for seed in (2, 4)
    ]


def test_the_weights_with_which_a_seed_diverged_survive_a_checkpoint(places: Places) -> None:
    cell = ("sumfirst", "meta_mlp")
    straight = spoilt(trainer(tiny(), places, cell, SEEDS, "never"), 3)
    straight.run("straight", Hooks())
    with pytest.raises(Interrupted):
        spoilt(trainer(tiny(), places, cell, SEEDS, "stopped"), 3).run("stopped", Hooks(stop=stop_after(7)))
    made = trainer(tiny(), places, cell, SEEDS, "stopped")
    made.run("stopped", Hooks())
    for seed in SEEDS:
        assert same(made.selections[seed], straight.selections[seed])


def test_a_pack_ends_when_every_seed_has_diverged(places: Places) -> None:
    params = tiny({"learners.sumfirst.meta_mlp.learning_rate": 1e30})
    made = trained(params, places, ("sumfirst", "meta_mlp"), SEEDS)
    assert made.number == 5
    assert made.diverged


def test_each_seed_of_a_pack_leaves_what_a_single_run_leaves(params: Params, places: Places) -> None:
    rows: list[tuple[int, Row]] = []
    train(params, PACK[1], Hooks(on_row=lambda seed, row: rows.append((seed, row))), places)
    output = places.root / "data/runs/sumfirst/meta_mlp/2-4"
    assert sorted(path.name for path in output.iterdir()) == ["2", "3", "4"]
    assert {seed for seed, _ in rows} == set(SEEDS)
    alone = RunId("sumfirst", "meta_mlp", 3)
    train(params, alone, places=places)
    for run in PACK:
        assert set(file_bytes(places.run(run))) == set(file_bytes(places.run(alone)))
        _, config = load_run(places.run(run))
        assert config["seed"] == run.seed
        assert {key: config[key] for key in configuration(params, run, places)} == configuration(params, run, places)
        log = read_json(places.log(run))
        assert (log["steps"], log["seeds"]) == (12, 3 if run.seed != 3 else 1)
    of_pack, single = (read_json(places.run(run) / "config.json") for run in (PACK[1], alone))
    assert of_pack.pop("selected") == pytest.approx(single.pop("selected"), rel=RELATIVE)
    assert of_pack == single
    assert not list((places.root / ".scratch").rglob("checkpoint.safetensors"))


def test_a_pack_stopped_by_hand_ends_in_the_same_bytes(params: Params, places: Places, tmp_path: Path) -> None:
    other = Places(tmp_path / "other")
    write_inputs(other.root, params, "sumfirst")
    with pytest.raises(Interrupted):
        train(params, PACK[0], Hooks(stop=stop_after(7)), places)
    assert not places.output(PACK[0]).exists()
    for where in (places, other):
        train(params, PACK[0], places=where)
    for run in PACK:
        assert file_bytes(places.run(run)) == file_bytes(other.run(run))
    assert read_json(places.log(PACK[2]))["resumed"] == 7


def test_evaluation_does_not_notice_packs(places: Places) -> None:
    packed, single = tiny({"grid.seeds": ["2-4"]}), tiny({"grid.seeds": list(SEEDS)})
    tables = []
    for params in (packed, single):
        of = recipe(params, "sumfirst", "meta_mlp")
        for pack in of.packs:
            train(params, pack_runs(of.study, of.name, pack)[0], places=places)
        tables.append(evaluate(of, places, torch.device("cpu")))
    (ours, runs), (alone, runs_alone) = tables
    assert ours.drop(columns="loss").equals(alone.drop(columns="loss"))
    assert ours["loss"].tolist() == pytest.approx(alone["loss"].tolist(), rel=RELATIVE)
    assert [(run["seed"], run["configuration"]) for run in runs] == [
        (run["seed"], run["configuration"]) for run in runs_alone
    ]


def test_another_pack_has_another_checkpoint(params: Params, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 1e9)
    for run in (PACK[0], pack_runs("sumfirst", "meta_mlp", Pack((2, 3)))[0], RunId("sumfirst", "meta_mlp", 2)):
        with pytest.raises(Interrupted, match="stopped at step 1;"):
            train(params, run, Hooks(stop=lambda: True), places)
    assert len(list((places.root / ".scratch").rglob("checkpoint.safetensors"))) == 3


def test_the_progress_line_names_the_pack_and_its_range(
    params: Params, places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    train(params, PACK[0], places=places)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sumfirst/meta_mlp/2-4  12/12  loss ")
    assert " … " in line


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_become_views_of_the_stack(params: Params, places: Places, name: str) -> None:
    made = trainer(params, places, ("addmod", name), SEEDS, "never")
    stack = made.step.stack
    with torch.no_grad():
        for i, (key, value) in enumerate(stack.parameters.items()):
            value[1].fill_(i)
            assert stack.learners[1].get_parameter(key).eq(i).all()
    fresh = make(params, "addmod", name, 4)
    fresh.calibrate(made.u_train, torch.Generator())
    assert stack.learners[2].state_dict().keys() == fresh.state_dict().keys()
