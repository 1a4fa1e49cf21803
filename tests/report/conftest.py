"""Made-up evaluations on disk, and one report made of them."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import params
from pipeline.report import Source, current, paper
from pipeline.report.build import contents
from tests.report.made_up import world


@cache
def parsed(text: str) -> Any:
    """The values of a YAML text."""
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(autouse=True)
def each_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are read in every test and seldom differ; parsing them would take most of the time."""
    monkeypatch.setattr(params, "read_yaml", lambda path: parsed(Path(path).read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both sets of inputs, made once."""
    root = tmp_path_factory.mktemp("made")
    world(current(root))
    world(paper(root))
    return root


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Source:
    """A whole set of made-up inputs of the current settings, to change at will."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return current(tmp_path)


@pytest.fixture
def stored(made: Path, tmp_path: Path) -> Source:
    """A whole set of made-up inputs of the paper's protocol, to change at will."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return paper(tmp_path)


@pytest.fixture(scope="session")
def report(made: Path) -> dict[str, str]:
    """The files of the made-up report of the current settings."""
    return contents(current(made))
