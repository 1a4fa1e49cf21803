"""A profile and a part of its grid as the text of `params.yaml`; workspaces made of a clone."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from pipeline import params
from pipeline.errors import UserError
from pipeline.flows.links import run_name
from pipeline.flows.request import Family, Learner, Profile, settings
from pipeline.flows.workspaces import KEPT, commit, workspace
from tests.cluster import toy

ROOT = Path(__file__).parents[2]


def test_a_profile_alone_is_its_own_text() -> None:
    assert settings(ROOT, "smoke") == (ROOT / "profiles" / "smoke.yaml").read_text()
    assert settings(ROOT, "params.yaml") == (ROOT / "params.yaml").read_text()


def test_a_part_of_the_grid_keeps_all_else(tmp_path: Path) -> None:
    text = settings(ROOT, "paper", ["sumfirst"], ["meta_gnn"], [3, "5-6"])
    (tmp_path / "params.yaml").write_text(text)
    found, whole = params.load(tmp_path / "params.yaml"), params.load(ROOT / "profiles" / "paper.yaml")
    assert list(found.grid.families) == ["sumfirst"]
    assert list(found.grid.learners) == ["meta_gnn"]
    assert list(found.grid.seeds) == [3, "5-6"]
    assert list(found.ablations.families) == []  # those are of addmod
    assert found.model_dump()["learners"] == whole.model_dump()["learners"]
    assert found.model_dump()["training"] == whole.model_dump()["training"]


@pytest.mark.parametrize(
    ("profile", "part", "why"),
    [
        ("paperr", {}, "there is no profile 'paperr'"),
        ("../params", {}, "there is no profile"),
        ("smoke", {"learners": ["meta_mpl"]}, r"profiles/smoke.yaml: grid.learners"),
        ("smoke", {"seeds": []}, r"grid.seeds"),
    ],
)
def test_what_there_is_not_is_named(profile: str, part: dict, why: str) -> None:
    with pytest.raises(UserError, match=why):
        settings(ROOT, profile, **part)


def test_prefects_forms_offer_what_there_is() -> None:
    assert get_args(Family) == params.FAMILIES
    assert get_args(Learner) == params.LEARNERS
    assert set(get_args(Profile)) == {"params.yaml", *(path.stem for path in (ROOT / "profiles").glob("*.yaml"))}


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("train@addmod-meta_mlp-3", "addmod/meta_mlp/3"),
        ("train@addmod-meta_mlp-0-9", "addmod/meta_mlp/0"),
        ("ablate@addmod-avg_norm-2", "ablations-addmod/avg_norm/2"),
        ("evaluate@addmod-meta_mlp", ""),
        ("report", ""),
    ],
)
def test_the_runs_of_stages(stage: str, name: str) -> None:
    assert run_name(stage) == name


def test_a_workspace_has_the_commit_and_its_own_settings_and_shares_the_cache(tmp_path: Path) -> None:
    clone = toy.make(tmp_path / "clone", [0])
    at = commit(clone)
    with workspace(clone, at, "seeds: [0, 1]\n") as first:
        assert (first / "params.yaml").read_text() == "seeds: [0, 1]\n"
        toy.dvc(first, "repro", "-q", "generate")
    with workspace(clone, at, "seeds: [0]\n") as second, workspace(clone, at, "seeds: [0, 1]\n") as again:
        assert again == first != second
        assert "is cached" in toy.dvc(second, "repro", "generate")
        places = []
        for number in range(KEPT + 2):
            with workspace(clone, at, f"seeds: [{number}, 7]\n") as place:
                places.append(place)
        assert not places[0].exists()
        assert places[-1].exists()
        assert second.exists() and again.exists()  # somebody is in them
    (clone / "toy.py").write_text("other")
    with pytest.raises(UserError, match=r"^toy.py differs from the commit; commit it"):
        commit(clone)
    toy.git(clone, "commit", "-qam", "other")
    why = r"this clone is at commit \w{12} and the flow at \w{12}; check that out here"
    with pytest.raises(UserError, match=why), workspace(clone, at, "seeds: [0]\n"):
        pass
