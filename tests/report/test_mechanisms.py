"""What the page says of the analyses: everything that is there, and a line for what is not."""

from __future__ import annotations

import shutil
from html import unescape

import pytest

from pipeline.errors import UserError
from pipeline.report import Source
from pipeline.report.build import contents
from pipeline.report.evidence import gather
from pipeline.report.mechanisms import mechanisms
from tests.report.made_up import FOUND


def test_every_finding_is_on_the_page_with_its_files(report: dict[str, str]) -> None:
    page = unescape(report["index.html"])
    for family in ("addmod", "arc1d"):
        assert f"{FOUND}{family}: 1 < 2." in page
        for name in ("picture.svg", "numbers.csv", "sum.py"):
            path = f"analyses/{family}/meta_mlp/geometry/{name}"
            assert f'"{path}"' in page
            assert report[path]
    assert "There is one run only." in page


def test_text_of_a_finding_is_no_html(report: dict[str, str]) -> None:
    assert "1 &lt; 2" in report["index.html"]


def test_a_missing_finding_stops_a_complete_report(source: Source) -> None:
    shutil.rmtree(source.analyses / "addmod" / "meta_mlp" / "clock")
    with pytest.raises(UserError, match=r"addmod/meta_mlp/clock is missing; run `dvc repro analyze@addmod`"):
        mechanisms(gather(source))


def test_the_paper_shows_what_there_is(stored: Source) -> None:
    shutil.rmtree(stored.analyses / "addmod")
    found = mechanisms(gather(stored))
    assert {(one.family, one.place) for one in found} == {("arc1d", "meta_mlp"), ("arc1d", ".")}
    shutil.rmtree(stored.analyses)
    assert "What the networks learned" not in contents(stored)["index.html"]


def test_a_damaged_finding_is_one_line(source: Source) -> None:
    (source.analyses / "addmod" / "meta_mlp" / "clock" / "finding.json").write_text('{"name": "clock"}')
    with pytest.raises(UserError, match=r"clock/finding.json is not an analysis"):
        mechanisms(gather(source))


def test_a_long_table_is_cut_on_the_page_and_whole_in_its_file(source: Source) -> None:
    rows = "".join(f"p={n},0.25,True\n" for n in range(500, 600))
    place = source.analyses / "addmod" / "meta_mlp" / "clock" / "numbers.csv"
    place.write_text("intent,value,passed\n" + rows)
    files = contents(source)
    assert "The first 40 of 100 rows." in files["index.html"]
    assert "p=539" in files["index.html"]
    assert "p=540" not in files["index.html"]
    assert files["analyses/addmod/meta_mlp/clock/numbers.csv"].count("\n") == 101
