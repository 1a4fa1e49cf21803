"""Bad input is refused in one line that names the file and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.report import Source
from pipeline.report.evidence import gather
from tests.report.made_up import put, settings


def refused(source: Source) -> str:
    """The line with which the inputs are refused."""
    with pytest.raises(UserError) as caught:
        gather(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit(source: Source, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of addmod/meta_mlp's `accuracy.csv`; line 0 is its head."""
    path = source.evaluation("addmod", "meta_mlp") / "accuracy.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def edit_runs(source: Source, change: Callable[[list[Any]], Any]) -> None:
    """Change what addmod/meta_mlp's `runs.json` holds."""
    path = source.evaluation("addmod", "meta_mlp") / "runs.json"
    write_json(path, change(json.loads(path.read_text())))


def test_a_missing_learner_is_named_with_the_command_that_makes_it(source: Source) -> None:
    settings(source, {"grid.learners": ["direct_mlp", "meta_mlp", "meta_gmlp"]})
    message = refused(source)
    assert "addmod/meta_gmlp is missing" in message
    assert "dvc repro evaluate@addmod-meta_gmlp" in message


def test_a_missing_seed_is_named(source: Source) -> None:
    put(source, "arc1d", "meta_mlp", seeds=(0, 2))
    message = refused(source)
    assert "arc1d/meta_mlp lacks seed 1" in message
    assert "dvc repro evaluate@arc1d-meta_mlp" in message


def test_a_missing_count_of_examples_is_named(source: Source) -> None:
    (source.splits / "arc1d.json").unlink()
    assert "dvc repro generate@arc1d" in refused(source)


def test_what_the_grid_does_not_name_is_not_looked_at(source: Source) -> None:
    (source.evaluation("addmod", "stray")).mkdir(parents=True)
    (source.evaluation("addmod", "stray") / "accuracy.csv").write_text("not a table")
    settings(source, {"grid.seeds": [2, 0]})
    evidence = gather(source)
    assert sorted(evidence.cells["addmod", "meta_mlp"].runs) == [0, 2]
    assert set(evidence.cells["addmod", "meta_mlp"].accuracy["seed"]) == {0, 2}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lines: [*lines[:-1], lines[-1][: lines[-1].index("p=")]], "accuracy.csv"),
        (lambda lines: lines[:-1], "accuracy.csv"),
        (lambda lines: [*lines[:-1], lines[-2]], "damaged (a seed has two rows for one intent)"),
        (lambda lines: [*lines[:-1], "2,ood,p=11,p,80,81,1"], "damaged (more examples are solved than there are)"),
        (lambda lines: [*lines[:-1], "2,ood,p=11,p,80,many,1"], "damaged (solved holds text)"),
        (lambda lines: [*lines[:-1], "2,ood,p=11,p,80,1.5,1"], "damaged (solved holds something that is not a count)"),
        (lambda lines: [*lines[:-1], "2,ood,p=11,p,80,-1,1"], "damaged (solved holds something that is not a count)"),
        (lambda lines: [*lines[:-1], "2,odd,p=11,p,80,1,1"], "accuracy.csv"),
        (lambda lines: [*lines[:-1], "2,ood,,p,80,1,1"], "accuracy.csv"),
        (lambda lines: [*lines[:-1], "2,ood,p=11,p,79,1,1"], "seeds 0 and 2 were measured on other examples"),
        (lambda lines: [line for line in lines if ",val," not in line], "accuracy.csv"),
        (
            lambda lines: [line.replace("p,80,", "p,81,") for line in lines],
            "101 examples of ood and the splits hold 100",
        ),
        (
            lambda lines: [re.sub("(test,.*,p),.*", r"\1,0,0,0", line) for line in lines],
            "seed 0 has no examples of test",
        ),
        (lambda lines: lines[:1], "accuracy.csv"),
        (lambda lines: [lines[0].replace("solved", "right"), *lines[1:]], "lacks the columns"),
    ],
)
def test_a_damaged_table_is_refused(source: Source, change: Callable[[list[str]], list[str]], why: str) -> None:
    edit(source, change)
    message = refused(source)
    assert why in message
    assert "addmod/meta_mlp" in message
    assert "dvc repro" in message


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda runs: {"seed": 0}, "does not describe runs"),
        (lambda runs: [*runs[:-1], 5], "does not describe runs (2: "),
        (lambda runs: [{k: v for k, v in run.items() if k != "configuration"} for run in runs], "0.configuration"),
        (lambda runs: [*runs, runs[0]], "names a seed more than once"),
        (lambda runs: [runs[0] | {"parameters": {"trainable": 1, "frozen": 0}}, *runs[1:]], "differ in parameters"),
        (lambda runs: [runs[0] | {"settings": {"hidden": [1]}}, *runs[1:]], "seeds 0 and 1 differ in settings"),
    ],
)
def test_damaged_runs_are_refused(source: Source, change: Callable[[list[Any]], Any], why: str) -> None:
    edit_runs(source, change)
    message = refused(source)
    assert why in message
    assert "runs.json" in message


def test_a_run_may_be_older_than_a_setting(source: Source) -> None:
    """A setting that may be left out has its default in runs that were trained before there was one."""
    before = gather(source).cells["addmod", "meta_mlp"]

    def without(runs: list[Any]) -> list[Any]:
        assert "steps" in runs[0]["settings"] and runs[0]["settings"]["steps"] is None
        settings = {key: value for key, value in runs[0]["settings"].items() if key != "steps"}
        return [runs[0] | {"settings": settings}, *runs[1:]]

    edit_runs(source, without)
    assert gather(source).cells["addmod", "meta_mlp"].runs == before.runs


def test_a_table_without_its_runs_is_refused(source: Source) -> None:
    (source.evaluation("addmod", "meta_mlp") / "runs.json").unlink()
    assert "runs.json is missing" in refused(source)


@pytest.mark.parametrize("counts", [{"train": 3}, {"train": {"total": "x"}}, {"train": {"total": 3}}, []])
def test_damaged_counts_of_examples_are_refused(source: Source, counts: Any) -> None:
    write_json(source.splits / "addmod.json", counts)
    assert "addmod.json" in refused(source)


def test_current_results_of_other_settings_are_refused(source: Source) -> None:
    settings(source, {"training.addmod.steps": 99})
    message = refused(source)
    assert "another training.addmod.steps than params.yaml" in message
    assert "dvc repro evaluate@addmod-direct_mlp" in message


def test_a_run_older_than_a_setting_has_its_default(source: Source) -> None:
    edit_runs(
        source, lambda runs: [{**r, "settings": {k: v for k, v in r["settings"].items() if k != "steps"}} for r in runs]
    )
    assert gather(source).cells["addmod", "meta_mlp"].changed == ()


def test_stored_results_are_not_made_again_by_dvc(stored: Source) -> None:
    edit(stored, lambda lines: lines[:-1])
    message = refused(stored)
    assert "restore it from Git" in message
