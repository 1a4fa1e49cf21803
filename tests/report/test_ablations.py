"""Table 5: mean and deviation in closed form, the paper's rows, and what is missing."""

from __future__ import annotations

import csv
import io
from typing import Any

import pandas as pd
import pytest
import torch

from pipeline.errors import UserError
from pipeline.evaluation.evaluate import COLUMNS
from pipeline.evaluation.tables import write
from pipeline.learners import count, make_learner
from pipeline.params import load
from pipeline.programs import make_family
from pipeline.report import Source
from pipeline.report.ablations import table5
from pipeline.report.build import contents
from pipeline.report.evidence import gather
from pipeline.report.published import axes, published
from pipeline.report.table import to_csv, to_latex, to_markdown
from pipeline.templates import make_template
from pipeline.training.recipe import recipe
from tests.helpers import PAPER
from tests.report.made_up import COUNTS, settings
from tests.report.test_page import Page, without_figures

STUDY = "ablations-addmod"
# Solved of addmod's 100 ood examples: mean 0.5, deviation 0.1 with n − 1; of its 1,712 test examples: all.
OOD = {0: 40, 1: 50, 2: 60}


def ablated(source: Source, rows: list[str], seeds: tuple[int, ...] = tuple(OOD), **changes: Any) -> None:
    """Settings with these rows."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    ours = {"ablations.families": ["addmod"], "ablations.rows": rows, "ablations.seeds": list(seeds)}
    settings(source, {"grid.families": ["addmod"], **ours, **named})


def put(source: Source, row: str, seeds: tuple[int, ...] = tuple(OOD), **more: Any) -> None:
    """Evaluations of one variant."""
    of, table = recipe(load(source.settings), STUDY, row), []
    for seed in seeds:
        for split, intents in COUNTS["addmod"].items():
            first = {"p=5": 0, "p=11": OOD[seed]} if split == "ood" else intents
            table += [[seed, split, u, "p", n, first[u], 1.0] for u, n in intents.items()]
    runs = [
        {
            "seed": seed,
            "configuration": f"{row}-{seed}-digest",
            "settings": of.settings.model_dump(mode="json"),
            "training": of.training.model_dump(mode="json"),
            "parameters": {"trainable": 4321, "frozen": 1},
            "selected": {"step": 10, "val_accuracy": 0.5, "val_loss": 0.5},
            "diverged": False,
            **more,
        }
        for seed in seeds
    ]
    write(source.evaluation(STUDY, row), pd.DataFrame(table, columns=COLUMNS), runs)


def lines(source: Source) -> dict[str, dict[str, str]]:
    """The rows of the table's CSV by variant."""
    return {row["variant"]: row for row in csv.DictReader(io.StringIO(to_csv(table5(gather(source)))))}


def test_mean_and_deviation_are_those_of_the_seeds_beside_the_papers(source: Source) -> None:
    ablated(source, ["sum_norm", "forward"])
    put(source, "sum_norm")
    put(source, "forward", seeds=(0, 1, 2))
    found = lines(source)
    row = found["sum_norm"]
    assert (row["ood_mean"], row["ood_std"], row["test_mean"], row["test_std"]) == ("0.5", "0.1", "1", "0")
    assert (row["paper_mean"], row["paper_std"]) == ("0.954", "0.012")
    assert (row["parameters"], row["seeds"], row["seeds_wanted"]) == ("4321", "3", "3")
    assert (row["aggregation"], row["use_norm"], row["bidirectional"]) == ("sum", "true", "true")
    assert (found["forward"]["rev_edge_mode"], found["forward"]["paper_mean"]) == ("", "0.965")
    table = table5(gather(source))
    assert "0.500 ± 0.100 | 0.954 ± 0.012 |" in to_markdown(table)
    assert r"0.500 $\pm$ 0.100 & 0.954 $\pm$ 0.012" in to_latex(table)


def test_one_seed_has_no_deviation(source: Source) -> None:
    ablated(source, ["avg"], seeds=(1,))
    put(source, "avg", seeds=(1,))
    row = lines(source)["avg"]
    assert (row["ood_mean"], row["ood_std"]) == ("0.5", "")
    assert "| 0.500 | 0.949 ± 0.032 |" in to_markdown(table5(gather(source)))


def test_rows_are_those_that_the_settings_name_in_their_order(source: Source) -> None:
    ablated(source, ["separate", "all"])
    put(source, "separate")
    put(source, "all")
    put(source, "avg")
    assert list(lines(source)) == ["separate", "all"]


def test_a_row_is_matched_to_the_papers_by_what_it_varies(source: Source) -> None:
    ablated(source, ["all"], ablations__variants__all={"aggregation": "avg", "init_mode": "global"})
    put(source, "all")
    assert lines(source)["all"]["paper_mean"] == ""
    ablated(source, ["all"], ablations__variants__all={"aggregation": "avg"})
    put(source, "all")
    assert lines(source)["all"]["paper_mean"] == "0.949"


def test_what_is_not_run_is_shown_as_missing_where_that_may_be(stored: Source) -> None:
    ablated(stored, ["sum_norm", "separate"])
    put(stored, "sum_norm", seeds=(0, 2))
    found = lines(stored)
    assert (found["sum_norm"]["seeds"], found["sum_norm"]["ood_mean"]) == ("2", "0.5")
    assert (found["separate"]["seeds"], found["separate"]["ood_mean"], found["separate"]["paper_mean"]) == (
        "0",
        "",
        "0.979",
    )
    text = to_markdown(table5(gather(stored)))
    assert "| 2 of 3 |" in text
    assert "| – | 0 of 3 | – | – | 0.979 ± 0.014 |" in text


@pytest.mark.parametrize("seeds", [(), (0, 2)])
def test_current_ablations_must_be_there(source: Source, seeds: tuple[int, ...]) -> None:
    ablated(source, ["avg"])
    if seeds:
        put(source, "avg", seeds=seeds)
    with pytest.raises(UserError, match=r"ablations-addmod/avg .*run `dvc repro evaluate_ablations@addmod`"):
        gather(source)


def test_current_ablations_of_other_settings_are_refused(source: Source) -> None:
    ablated(source, ["avg"])
    put(source, "avg")
    ablated(source, ["avg"], ablations__settings__width=5)
    with pytest.raises(UserError, match=r"another ablations\.variants\.avg\.width than params\.yaml"):
        gather(source)
    ablated(source, ["avg"], ablations__training__steps=5)
    with pytest.raises(UserError, match=r"another ablations\.training\.steps than params\.yaml"):
        gather(source)


def test_stored_ablations_of_other_settings_are_told(stored: Source) -> None:
    ablated(stored, ["avg"])
    put(stored, "avg", diverged=True)
    ablated(stored, ["avg"], ablations__training__steps=5)
    notes = " ".join(table5(gather(stored)).notes)
    training = load(stored.settings).ablations.training
    assert f"trained for {training.steps} steps of {training.batch} examples" in notes
    assert "avg on AddMod-p was trained with settings that profiles/paper.yaml has otherwise now" in notes
    assert "avg on AddMod-p: the loss diverged with seed 0, 1, 2" in notes


def test_the_page_leads_to_the_runs_of_every_variant(source: Source) -> None:
    ablated(source, ["avg", "separate"])
    for row in ("avg", "separate"):
        put(source, row)
    text = without_figures(source)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {href[1:] for href in page.hrefs if href.startswith("#")} <= set(page.ids)
    for row in ("avg", "separate"):
        assert f"runs-{STUDY}-{row}" in page.ids
        for seed in OOD:
            assert f"run-{STUDY}-{row}-{seed}" in page.ids
            assert f"dvc repro ablate@addmod-{row}-{seed}" in text
            assert f"{row}-{seed}-digest" in text


def test_without_ablations_there_is_no_table_of_them(report: dict[str, str], stored: Source) -> None:
    assert "tables/table5.csv" not in report
    assert "Ablations" not in report["index.html"]
    ablated(stored, ["avg"])
    assert {f"tables/table5.{kind}" for kind in ("csv", "md", "tex")} < contents(stored).keys()


def test_the_papers_profile_has_the_papers_nine_rows_in_their_order_and_they_are_small() -> None:
    params = load(PAPER)
    variants = [recipe(params, STUDY, row) for row in params.ablations.rows]
    assert [axes(of.settings) for of in variants] == list(published().ablations)
    assert set(params.ablations.rows) == set(params.ablations.variants)
    assert params.ablations.families == ("addmod",)
    assert {of.seeds for of in variants} == {(0, 1, 2, 3, 4)}
    assert {of.settings.d_h for of in variants} == {params.ablations.settings.d_h}
    family, template = make_family(params, "addmod"), make_template(params, "addmod")
    for of in variants:
        with torch.device("meta"):
            assert count(make_learner(of.learner, family, template, of.settings))["trainable"] < 50_000
