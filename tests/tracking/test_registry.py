"""Registered models, figures and links to flow runs, as `neurop publish` leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.params import Params
from pipeline.tracking import publish
from pipeline.tracking.pages import FLOW_RUN, FLOW_URL, flow_tags
from pipeline.tracking.registry import BEST, model
from pipeline.tracking.store import RUN, Store
from tests.tracking.made_up import (
    FAMILY,
    FIRST,
    LEARNER,
    dump,
    live,
    named,
    write_evaluations,
    write_outputs,
    write_run,
)

NAME = model(FAMILY, LEARNER)


def versions() -> dict[str, str]:
    """The run of each version of the model."""
    return {one.version: one.tags[RUN] for one in Store.connect().client.search_model_versions(f"name = '{NAME}'")}


def test_each_seed_is_a_version_and_the_best_has_the_alias(root: Path, grid: Params) -> None:
    write_outputs(grid)
    publish(grid)
    client = Store.connect().client
    assert sorted(versions().values()) == [f"{FAMILY}/{LEARNER}/0", f"{FAMILY}/{LEARNER}/1"]
    best = client.get_model_version_by_alias(NAME, BEST)
    assert best.tags[RUN] == f"{FAMILY}/{LEARNER}/1"
    place = client.get_model_version_download_uri(NAME, best.version).removeprefix("file://")
    assert Path(place).read_bytes() == b"weights\x01"
    publish(grid)
    assert len(versions()) == 2


def test_other_weights_are_another_version(root: Path, grid: Params) -> None:
    write_outputs(grid)
    publish(grid)
    write_run(grid, FIRST, weights=b"others")
    write_evaluations(grid)
    publish(grid)
    assert sorted(versions().values()).count(str(FIRST)) == 2
    assert Store.connect().client.get_model_version_by_alias(NAME, BEST).tags[RUN] == f"{FAMILY}/{LEARNER}/1"


def test_figures_are_shown_and_follow_the_analysis(root: Path, grid: Params) -> None:
    write_outputs(grid)
    figure = Path("data/analyses") / FAMILY / LEARNER / "geometry" / "intent.svg"
    figure.parent.mkdir(parents=True)
    figure.write_text("<svg>1</svg>")
    publish(grid)
    assert _shown() == b"<svg>1</svg>"
    figure.write_text("<svg>2</svg>")
    publish(grid)
    assert _shown() == b"<svg>2</svg>"


def _shown() -> bytes:
    (path,) = Path("mlartifacts").rglob("figures/geometry/intent.svg")
    return path.read_bytes()


def test_a_run_within_a_flow_says_which(root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FLOW_RUN, "0a1b")
    monkeypatch.setenv(FLOW_URL, "http://head:4200/runs/flow-run/0a1b")
    live(grid, (0, 5))
    live(grid, (5, 10))  # the second one goes on
    (run,) = named(dump(), str(FIRST))
    assert run["tags"]["neurop.prefect_run"] == "0a1b"
    assert run["tags"]["neurop.prefect_url"] == "http://head:4200/runs/flow-run/0a1b"


@pytest.mark.parametrize(
    ("identifier", "url", "tags"),
    [
        ("", "http://head/x", set()),
        ("a b", "http://head/x", set()),
        ("0a", "", {"neurop.prefect_run"}),
        ("0a", "javascript:alert(1)", {"neurop.prefect_run"}),
        ("0a", "http://me:hidden@head/x", {"neurop.prefect_run"}),
        ("0a", "http://head/x) [y](z", {"neurop.prefect_run"}),
    ],
)
def test_what_is_no_flow_run_is_no_tag(
    identifier: str, url: str, tags: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FLOW_RUN, identifier)
    monkeypatch.setenv(FLOW_URL, url)
    assert flow_tags().keys() == tags
