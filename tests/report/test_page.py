"""The page: every link has its end, nothing is fetched, and it says what a reader must know."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.params.learners import MetaSection
from pipeline.report import Source
from pipeline.report.build import all_tables, contents
from pipeline.report.evidence import gather
from pipeline.report.page import BEYOND, render, spoken
from tests.report.made_up import LEARNERS, SEEDS, put, settings


class Page(HTMLParser):
    """Identifiers, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.hrefs: list[str] = []
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            name = key.rpartition(":")[2]
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.hrefs.append(value or "")
            elif name in ("src", "srcset", "data", "action"):
                self.loaded.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def without_figures(source: Source) -> str:
    """The page without its figures, which take the most time."""
    evidence = gather(source)
    return render(evidence, all_tables(evidence), {}, {}, [])


@pytest.fixture(scope="session")
def page(report: dict[str, str]) -> Page:
    """The page of the made-up report."""
    return Page(report["index.html"])


def test_identifiers_are_unique(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_every_link_has_its_end(page: Page, report: dict[str, str]) -> None:
    for href in page.hrefs:
        assert (href[1:] in page.ids) if href.startswith("#") else (href in report)


def test_nothing_is_fetched_and_nothing_runs(page: Page, report: dict[str, str]) -> None:
    assert page.loaded
    assert set(page.loaded) <= set(report)  # drawings beside the page
    assert "<script" not in report["index.html"]
    assert "<link" not in report["index.html"]
    assert "@import" not in report["index.html"]


def test_every_run_is_there_with_its_command_and_configuration(page: Page) -> None:
    text = "".join(page.text)
    for family in ("addmod", "arc1d"):
        for learner in LEARNERS:
            for seed in SEEDS:
                assert f"run-{family}-{learner}-{seed}" in page.ids
                assert f"dvc repro train@{family}-{learner}-{seed}" in text
                assert f"{family}-{learner}-{seed}-digest" in text


def test_shared_primes_are_told_under_split_paper_only(stored: Source) -> None:
    told = "Val is not independent of ood here."
    assert told in without_figures(stored)
    settings(stored, {"programs.addmod.split": "strict"})
    assert told not in without_figures(stored)


def test_settings_beyond_the_paper_are_told_with_their_learners(stored: Source) -> None:
    off = {f"learners.{f}.meta_mlp.bandwidth": None for f in ("addmod", "arc1d")}
    settings(stored, off)
    assert "<code>bandwidth</code>" not in without_figures(stored)
    settings(stored, {"learners.addmod.meta_mlp.bandwidth": 12})
    assert "<code>bandwidth</code> for addmod meta_mlp (12)" in without_figures(stored)


def test_every_setting_that_a_meta_learner_may_leave_out_is_told() -> None:
    """A setting with a default is one that the paper does not have."""
    optional = {name: field.default for name, field in MetaSection.model_fields.items() if not field.is_required()}
    assert optional.pop("steps") is None
    assert optional.items() <= BEYOND.items()


def test_no_file_names_a_place_on_the_machine(made: Path, report: dict[str, str]) -> None:
    assert all(str(made) not in text for text in report.values())


def test_provenance_is_shown_and_escaped(stored: Source) -> None:
    put(stored, "addmod", "meta_mlp", provenance={"device": "<b>GPU</b>", "command": "run & 'go'"})
    text = without_figures(stored)
    assert "&lt;b&gt;GPU&lt;/b&gt;" in text
    assert "run &amp; &#39;go&#39;" in text
    assert "<b>GPU</b>" not in text


def test_drawings_of_neural_graphs_are_shown_where_there_are_any(source: Source, report: dict[str, str]) -> None:
    assert "graph-addmod" not in report["index.html"]
    (source.graphs / "addmod").mkdir(parents=True)
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 30"><path id="tip"/></svg>'
    (source.graphs / "addmod" / "graph.svg").write_text(drawing)
    text = contents(source)["index.html"]
    assert 'id="graph-addmod-tip"' in text
    assert "width: 40px" in text


def test_seeds_are_spoken_as_a_range_where_they_are_one() -> None:
    assert [spoken(seeds) for seeds in ([2, 0, 1], [0, 1], [0, 1, 3], [])] == ["0–2", "0, 1", "0, 1, 3", "–"]
