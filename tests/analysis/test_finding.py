"""A finding on disk, a run as a subject, and analyses that do not apply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.analysis import geometry
from pipeline.analysis.analyse import ANALYSES, analyse, analyse_family, compare
from pipeline.analysis.finding import Finding, read, write
from pipeline.analysis.subject import Subject, load
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.synthesis import synthesize
from pipeline.training.recipe import RunId
from pipeline.training.run import Places


@pytest.fixture(scope="module")
def directory(trained: tuple[Places, RunId]) -> Path:
    places, run = trained
    return places.run(run)


@pytest.fixture(scope="module")
def subject(directory: Path) -> Subject:
    found = load(directory)
    assert found is not None
    return found


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = pd.DataFrame({"intent": ["p=3", "p=5"], "n": [1, 2], "r": [1 / 3, float("nan")]})
    said = Finding(
        "clock",
        "Clock",
        ("One.", "Two."),
        {"a": 1 / 3, "b": 2, "c": float("nan"), "d": "x"},
        {"t": table},
        {"f": "<svg xmlns='http://www.w3.org/2000/svg'/>"},
        {"t": "T", "f": "F", "p": "P"},
        {"p": "x = 1\n\n\ny = 2\n"},
    )
    write(tmp_path / "clock", said)
    found = read(tmp_path / "clock")
    assert found.numbers == {"a": 0.333333, "b": 2, "c": None, "d": "x"}
    pd.testing.assert_frame_equal(found.tables["t"], table.round(6))
    assert (found.text, found.figures, found.programs, found.captions) == (
        said.text,
        said.figures,
        said.programs,
        said.captions,
    )


@pytest.mark.parametrize("text", ["[]", "{}", '{"text": 1, "tables": [], "figures": [], "programs": []}'])
def test_a_damaged_finding_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "finding.json").write_text(text)
    with pytest.raises(UserError, match="is not an analysis"):
        read(tmp_path)


def test_a_subject_holds_what_the_run_writes(subject: Subject, directory: Path) -> None:
    """Its networks are those of `synthesize`, its accuracies those of `verify`; before training they are others."""
    lengths = [intent.parameter for intent in subject.intents]
    assert lengths == sorted(lengths)
    trained = {intent.parameter for intent in subject.family.intents("train")}
    assert subject.seen.tolist() == [n in trained for n in lengths]
    assert not all(subject.seen)
    program = synthesize(directory, str(lengths[1]))
    for name, value in subject.program(1).theta.items():
        torch.testing.assert_close(value, program.theta[name])
        assert not torch.equal(subject.untrained[name][1], value[0])
    solved, checked, _ = program.verify(np.random.default_rng(0))
    assert subject.accuracy[1] == pytest.approx(solved / checked, abs=2e-3)
    assert subject.accuracy_of(subject.theta).tolist() == subject.accuracy.tolist()


def test_what_does_not_apply_says_why_and_the_rest_goes_on(subject: Subject) -> None:
    findings = analyse(subject)
    assert [finding.name for finding in findings] == list(ANALYSES)
    assert [finding.title for finding in findings] == [title for title, _ in ANALYSES.values()]
    # sumfirst has no token embeddings, but weights that depend on the intent
    by_name = {finding.name: finding for finding in findings}
    assert not by_name["geometry"].applies
    assert by_name["geometry"].text[0].endswith(".")
    assert by_name["sensitivity"].applies
    assert by_name["sensitivity"].figures


def test_every_table_and_figure_has_a_caption(subject: Subject) -> None:
    for finding in [*analyse(subject), compare([subject, subject])]:
        assert set(finding.captions) == {*finding.tables, *finding.figures, *finding.programs}


def test_one_run_cannot_be_compared(subject: Subject) -> None:
    assert not compare([subject]).applies
    assert not compare([]).applies


def test_an_error_is_no_finding(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Subject) -> Finding:
        raise ZeroDivisionError

    monkeypatch.setitem(ANALYSES, "geometry", ("Geometry", broken))
    assert geometry.analyse is not broken
    with pytest.raises(ZeroDivisionError):
        analyse(subject)


def test_a_family_is_written_with_its_numbers(directory: Path, tmp_path: Path) -> None:
    numbers = analyse_family({"meta_mlp": directory}, [directory], tmp_path / "sumfirst")
    places = {path.parent.relative_to(tmp_path / "sumfirst").as_posix() for path in tmp_path.rglob("finding.json")}
    assert places == {*(f"meta_mlp/{name}" for name in ANALYSES), "comparison"}
    kept = read_json(tmp_path / "sumfirst/meta_mlp/sensitivity/finding.json")["numbers"]
    assert {key: value for key, value in numbers.items() if key.startswith("meta_mlp.sensitivity")}.keys() == {
        f"meta_mlp.sensitivity.{key}" for key in kept
    }
