"""The report on disk: the same bytes from the same evaluations, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.report import Source, build, check, paper
from pipeline.report.build import contents
from stages.report import main
from tests.helpers import ROOT
from tests.report.made_up import settings, shuffle


def files(directory: Path) -> dict[str, bytes]:
    """Contents of all files below a directory."""
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_the_order_of_rows_leaves_every_byte_as_it_is(source: Source, report: dict[str, str]) -> None:
    shuffle(source, 3)
    assert contents(source) == report


def test_the_environment_leaves_every_byte_as_it_is(source: Source, report: dict[str, str], tmp_path: Path) -> None:
    """Another process, hash seed, time zone, locale, date and matplotlibrc; by the stage's command."""
    style = tmp_path / "matplotlibrc"
    style.write_text("font.family: serif\nfont.size: 30\nsvg.fonttype: none\naxes.grid: False\nfigure.dpi: 7\n")
    environment = os.environ | {
        "MATPLOTLIBRC": str(style),
        "MPLBACKEND": "pdf",
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "LANG": "de_DE.UTF-8",
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "stages.report", "current"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    assert files(tmp_path / "reports") == {name: text.encode() for name, text in report.items()}


def test_what_is_written_is_what_check_compares(stored: Source, tmp_path: Path) -> None:
    settings(stored, {"grid.families": ["addmod"]})
    output = tmp_path / "report"
    build(stored, output)
    assert check(stored, output) == []
    before = files(output)
    (output / "tables" / "table2.csv").write_text("other")
    (output / "figures" / "addmod.svg").unlink()
    (output / "stray.txt").write_text("")
    assert check(stored, output) == ["figures/addmod.svg", "stray.txt", "tables/table2.csv"]
    build(stored, output)
    assert files(output) == before


def test_a_report_that_is_not_there_differs_in_every_file(source: Source, report: dict[str, str]) -> None:
    assert check(source, source.settings.parent / "reports") == sorted(report)


def test_a_failed_build_leaves_the_old_report_and_nothing_else(source: Source, tmp_path: Path) -> None:
    output = tmp_path / "out" / "report"
    output.mkdir(parents=True)
    (output / "index.html").write_text("old")
    (source.splits / "addmod.json").unlink()
    with pytest.raises(UserError):
        build(source, output)
    assert files(output.parent) == {"report/index.html": b"old"}


def test_a_report_without_any_run_is_the_papers_numbers(tmp_path: Path) -> None:
    source = paper(tmp_path)
    settings(source)
    made = contents(source)
    assert not any(name.startswith("figures/") for name in made)
    assert "No run is made yet" in made["index.html"]
    assert "addmod,meta_mlp,0,3,,,0.996,,0.994,,0.947,,,," in made["tables/table2.csv"].splitlines()


def test_without_arc1d_there_is_no_table_of_its_kinds(stored: Source) -> None:
    settings(stored, {"grid.families": ["addmod"]})
    made = contents(stored)
    assert "tables/table3.csv" not in made
    assert "table3" not in made["index.html"]


@pytest.mark.parametrize("arguments", [[], ["other"], ["current", "paper"]])
def test_a_wrong_argument_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"stages\.report current"):
        main(arguments)
