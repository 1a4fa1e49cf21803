"""What `prefect.yaml` schedules: registered on a real server, refused where it is wrong, run by a head."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.cluster import toy
from tests.cluster.conftest import Server
from tests.test_pipeline import ROOT, copy_project, tiny_settings, write

NEUROP = [sys.executable, "-m", "pipeline"]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone's worth of files, committed."""
    root = tmp_path_factory.mktemp("head")
    copy_project(root)
    shutil.copy(ROOT / "prefect.yaml", root)
    write(root, tiny_settings())
    toy.commit_all(root)
    return root


def neurop(root: Path, server: Server, *arguments: str, code: int = 0) -> str:
    return toy.call(root, *NEUROP, *arguments, code=code, PREFECT_API_URL=server.url)


def prefect(root: Path, server: Server, *arguments: str, code: int = 0) -> str:
    said = toy.call(root, sys.executable, "-m", "prefect", *arguments, code=code, PREFECT_API_URL=server.url)
    return " ".join(said.split())


def test_deployments_are_registered_checked_and_run(server: Server, head: Path, tmp_path: Path) -> None:
    said = neurop(head, server, "deploy", "--paused").splitlines()
    assert said == [
        "neurop/nightly: 0 2 * * * UTC (paused)",
        "neurop/smoke: 30 * * * * UTC (paused)",
        "neurop/on-demand: when asked for",
    ]
    shown = prefect(head, server, "deployment", "inspect", "neurop/nightly")
    assert "CANCEL_NEW" in shown
    assert "$NEUROP_WORKSPACE" in shown
    assert str(head) not in shown
    run = ["deployment", "run", "neurop/on-demand"]
    assert "'papper' is not one of" in prefect(head, server, *run, "-p", "profile=papper", code=1)
    assert "'meta_mlpx' is not one of" in prefect(head, server, *run, "-p", 'learners=["meta_mlpx"]', code=1)
    log = tmp_path / "head.log"
    worker = toy.start(head, log, *NEUROP, "head", "--name", "one", PREFECT_API_URL=server.url)
    try:
        asked = ["-p", "profile=smoke", "-p", 'families=["sumfirst"]', "-p", 'targets=["graph"]']
        prefect(head, server, *run, *asked)
        toy.until(lambda: ".scratch/workspaces" in log.read_text(), "the flow has run", 240)
    finally:
        toy.stop(worker)
    assert "Finished in state Completed('1 done; in .scratch/workspaces/" in log.read_text()
    (place,) = (path for path in (head / ".scratch" / "workspaces").iterdir() if path.is_dir())
    assert {path.name for path in (place / "data" / "graphs").iterdir()} == {"sumfirst"}
    assert not (head / "data" / "graphs").exists()


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("profile: smoke", "profile: smoky", "smoke: there is no profile 'smoky'; there are params.yaml, laptop"),
        ("profile: smoke", "profile: smoke\n      families: [addmud]", "smoke: profiles/smoke.yaml: grid.families"),
        ("profile: smoke", "profile: smoke\n      seeds: [5-1]", "smoke: profiles/smoke.yaml: grid.seeds"),
        ("pool: null", "pool: h100", "there is no work pool 'h100'; start a worker of it first"),
    ],
)
def test_a_wrong_deployment_is_refused_before_anything_is_registered(
    server: Server, head: Path, before: str, after: str, why: str
) -> None:
    file = head / "prefect.yaml"
    text = file.read_text()
    file.write_text(text.replace(before, after))
    try:
        said = neurop(head, server, "deploy", code=2)
        assert why in said
        assert said.count("\n") == 1
    finally:
        file.write_text(text)


def test_an_unknown_deployment_is_named(server: Server, head: Path) -> None:
    said = neurop(head, server, "deploy", "weekly", code=2)
    assert said == "error: prefect.yaml has no deployment 'weekly'; there are nightly, smoke, on-demand\n"
