"""The dependency audit: a hole is shown; a database that does not answer is said, and never taken for 'no holes'."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from tests.test_pipeline import ROOT

SOUND = {"name": "jinja2", "version": "3.1.6", "vulns": []}
HOLED = {"name": "old", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}
UNKNOWN = {"name": "own", "skip_reason": "Dependency not found"}


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def answers(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *found: list[dict[str, Any]]) -> None:
    """pip-audit says these, one call after the other."""
    left = list(found)
    monkeypatch.setattr(module, "audit", lambda *_: (left.pop(0), "no route to host"))


def test_holes_are_shown(module, monkeypatch, capsys) -> None:
    answers(module, monkeypatch, [SOUND], [SOUND, HOLED, UNKNOWN])
    assert module.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        "audit: old 1 has PYSEC-1, repaired in 2",
        "audit: 2 packages, known holes: 1",
        "audit: not known to the database: own",
    ]


def test_no_holes(module, monkeypatch, capsys) -> None:
    answers(module, monkeypatch, [SOUND], [SOUND])
    assert module.main() == 0
    assert capsys.readouterr().out == "audit: 1 packages, known holes: 0\n"


@pytest.mark.parametrize(("found", "why"), [([], "no route to host"), ([UNKNOWN], "Dependency not found")])
def test_a_database_that_does_not_answer_is_said(module, monkeypatch, capsys, found, why) -> None:
    answers(module, monkeypatch, found)
    assert module.main() == 0
    assert capsys.readouterr().out == f"audit: not done, its database has no answer here ({why})\n"
