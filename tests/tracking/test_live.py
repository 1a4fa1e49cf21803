"""Live curves, and publishing what a training began: one run, each point once."""

from __future__ import annotations

import select
import signal
from pathlib import Path

from pipeline.files import write_json
from pipeline.params import Params
from pipeline.tracking import Follower, publish
from pipeline.tracking.store import OUTPUTS
from pipeline.training.recipe import recipes
from pipeline.training.run import Places, RunId
from tests.helpers import tiny
from tests.tracking.made_up import (
    FAMILY,
    FIRST,
    LEARNER,
    STEPS,
    curve,
    dump,
    live,
    named,
    row,
    write_evaluations,
    write_outputs,
    write_run,
)


def test_a_follower_and_publish_give_one_run_with_complete_curves(root: Path, grid: Params) -> None:
    with Follower(FIRST, grid) as following:
        for step in STEPS[:2]:
            following.send(0, row(0, step))
        process, answers = following.process, following._answers
        assert process is not None
        assert answers is not None
        assert select.select([answers], [], [], 300)[0]
        process.send_signal(signal.SIGINT)  # Ctrl-C in a terminal reaches the whole process group
        following.send(0, row(0, STEPS[2]))
    assert process.wait(300) == 0
    (run,) = named(dump(), str(FIRST))
    assert run["info"]["status"] == "KILLED"  # no outputs: training may go on
    assert curve(run, "curve/val_accuracy") == [(0, 0.0), (5, 0.05), (10, 0.1)]
    assert run["params"]["training.steps"] == "12"

    write_outputs(grid)
    publish(grid)
    (published,) = named(dump(), str(FIRST))
    assert published["info"]["run_id"] == run["info"]["run_id"]
    assert published["info"]["status"] == "FINISHED"
    assert curve(published, "curve/val_accuracy") == [(0, 0.0), (5, 0.05), (10, 0.1), (12, 0.12)]
    assert curve(published, "curve/loss") == [(5, 1 / 5), (10, 1 / 10), (12, 1 / 12)]
    assert len(named(dump(), f"{FAMILY}/{LEARNER}")) == 1


def test_a_resumed_training_continues_its_run_and_repeats_no_point(root: Path, grid: Params) -> None:
    killed = live(grid, (0, 5, 10))
    killed.close()
    resumed = live(grid, (10, 12))
    assert resumed.run == killed.run
    (run,) = named(dump(), str(FIRST))
    assert run["info"]["status"] == "RUNNING"
    assert curve(run, "curve/val_loss") == [(step, 2.5) for step in STEPS]


def test_the_curves_of_a_pack_go_to_the_runs_of_its_seeds(root: Path, grid: Params) -> None:
    packed = tiny({"grid.families": [FAMILY], "grid.learners": [LEARNER], "grid.seeds": ["0-1"]})
    (of,) = recipes(packed)
    with Follower(of.run(1), packed) as following:
        for step in STEPS[:3]:
            for seed in of.seeds:
                following.send(seed, row(seed, step))
        process = following.process
        assert process is not None
    assert process.wait(300) == 0
    found = dump()
    for run in of.runs:
        (live_run,) = named(found, str(run))
        assert live_run["info"]["status"] == "KILLED"
        assert curve(live_run, "curve/val_accuracy") == [(s, s / 100 + run.seed / 1000) for s in STEPS[:3]]
        assert live_run["params"]["seed"] == str(run.seed)
        assert live_run["tags"]["mlflow.source.name"] == f"train@{FAMILY}-{LEARNER}-0-1"

    write_outputs(packed)
    publish(packed)
    for run in of.runs:
        (published,) = named(dump(), str(run))
        assert published["info"]["status"] == "FINISHED"
        assert curve(published, "curve/val_accuracy")[-1] == (12, 0.12 + run.seed / 1000)
    assert len(named(dump(), f"{FAMILY}/{LEARNER}")) == 1


def test_a_training_that_starts_afresh_leaves_the_points_of_another_alone(root: Path, grid: Params) -> None:
    old, new = live(grid, (0, 5)), live(grid, STEPS)
    assert new.run != old.run
    write_outputs(grid)
    publish(grid)
    found = dump()
    assert OUTPUTS in found[new.run]["tags"]
    assert OUTPUTS not in found[old.run]["tags"]
    assert curve(found[old.run], "curve/val_loss") == [(0, 2.5), (5, 2.5)]


def test_a_finished_training_says_so_and_on_what_it_ran(root: Path, grid: Params) -> None:
    run = live(grid, STEPS)
    write_run(grid, FIRST)
    write_json(Places().log(FIRST), {"device": "a machine", "seconds": 1.5})
    run.close()
    (found,) = named(dump(), str(FIRST))
    assert found["info"]["status"] == "FINISHED"
    assert found["tags"]["machine.device"] == "a machine"
    assert curve(found, "machine/seconds") == [(0, 1.5)]
    write_run(grid, RunId(FAMILY, LEARNER, 1))
    write_evaluations(grid)
    publish(grid)
    (published,) = named(dump(), str(FIRST))
    assert published["info"]["end_time"] == found["info"]["end_time"]
