"""Settings: every wrong one is refused in one line that names it; the shipped profiles load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.params import FAMILIES, LEARNERS, Addmod, Params, load, read_yaml
from tests.helpers import ABSENT, ROOT, changed, tiny, tiny_values, write_params

WRONG = {
    "unknown section": ({"colour": 1}, "colour: is not a known setting"),
    "unknown key": ({"training.addmod.stepz": 3}, "training.addmod.stepz: is not a known setting"),
    "missing section": ({"templates": ABSENT}, "templates: is missing"),
    "missing key": ({"programs.arc1d.length": ABSENT}, "programs.arc1d.length: is missing"),
    "a word for a number": ({"training.addmod.steps": "many"}, "training.addmod.steps: .*'many'"),
    "a fraction for a count": ({"training.arc1d.batch": 2.5}, "training.arc1d.batch: .*2.5"),
    "a number for a list": ({"grid.seeds": 3}, "grid.seeds: .*3"),
    "a list for a section": ({"evaluation": [1]}, "evaluation: .*\\[1\\]"),
    "nothing for a section": ({"programs.sumfirst": None}, "programs.sumfirst: .*None"),
    "an unknown precision": ({"training.addmod.precision": "float16"}, "training.addmod.precision: .*'float16'"),
    "a gradient of no length": (
        {"learners.addmod.meta_gnn.gradient_clip": 0.0},
        "learners.addmod.meta_gnn.gradient_clip: .*0",
    ),
    "a curriculum beyond the end": (
        {"learners.arc1d.meta_gnn.curriculum": 1.5},
        "learners.arc1d.meta_gnn.curriculum: .*1.5",
    ),
    "zero steps": ({"training.addmod.steps": 0}, "training.addmod.steps: .*0"),
    "no code at all for an axis": (
        {"learners.addmod.meta_gnn.coordinate": False},
        "learners.addmod.meta_gnn: coordinate: false needs relations",
    ),
    "relations on a logarithmic scale": (
        {"learners.addmod.meta_gnn.scale": "log", "learners.addmod.meta_gnn.relations": ["ratio"]},
        "learners.addmod.meta_gnn: relations are made of the intent's own number; set scale: linear",
    ),
    "relations to an intent that is left out": (
        {
            "learners.addmod.meta_gnn.scale": "linear",
            "learners.addmod.meta_gnn.intent_slots": "ordered",
            "learners.addmod.meta_gnn.relations": ["ratio"],
        },
        "learners.addmod.meta_gnn: relations relate every slot to the intent; set intent_slots: all",
    ),
    "unknown relation": (
        {"learners.addmod.meta_gnn.relations": ["cousin"]},
        "learners.addmod.meta_gnn.relations.0: .*cousin",
    ),
    "negative seed": ({"grid.seeds": [0, -1]}, "grid.seeds.1: .*-1"),
    "no seeds": ({"grid.seeds": []}, "grid.seeds: "),
    "duplicate seeds": ({"grid.seeds": [4, 2, 4]}, "grid.seeds: holds 4 more than once"),
    "a seed in a pack, too": ({"grid.seeds": ["2-4", 7, 3]}, "grid.seeds: holds 3 more than once"),
    "packs that meet": ({"ablations.seeds": ["0-4", "4-9"]}, "ablations.seeds: holds 4 more than once"),
    "a pack backwards": ({"grid.seeds": [0, "9-1"]}, r"grid.seeds.1: is no pack of seeds; .*\(it is '9-1'\)"),
    "a pack of letters": ({"grid.seeds": ["a-b"]}, r"grid.seeds.0: is no seed .*'a-b'"),
    "a pack from below zero": ({"grid.seeds": ["-1-3"]}, r"grid.seeds.0: is no seed .*'-1-3'"),
    "a pack that is huge": ({"grid.seeds": ["0-999999999"]}, "grid.seeds.0: is a pack of more than 1000 seeds"),
    "a text for a seed": ({"grid.seeds": ["3"]}, r"grid.seeds.0: is no seed .*'3'"),
    "a list for a pack": ({"grid.seeds": [[0, 1]]}, r"grid.seeds.0: is no seed .*\[0, 1\]"),
    "a fraction for a seed": ({"grid.seeds": [1.0]}, r"grid.seeds.0: is no seed .*1.0"),
    "a bool for a seed": ({"grid.seeds": [True, 2]}, "grid.seeds.0: .*True"),
    "a bool for a rate": (
        {"learners.addmod.meta_mlp.learning_rate": True},
        "learners.addmod.meta_mlp.learning_rate: .*True",
    ),
    "duplicate learners": ({"grid.learners": ["meta_mlp", "meta_mlp"]}, "grid.learners: holds meta_mlp more"),
    "unknown learner": ({"grid.learners": ["meta_magic"]}, "grid.learners.0: .*meta_magic"),
    "unknown family": ({"grid.families": ["submod"]}, "grid.families.0: .*submod"),
    "confidence of one": ({"evaluation.confidence": 1.0}, "evaluation.confidence: .*1.0"),
    "negative rate": ({"learners.addmod.meta_mlp.learning_rate": -1}, "learners.addmod.meta_mlp.learning_rate: "),
    "rate is not a number": (
        {"learners.addmod.meta_mlp.learning_rate": float("nan")},
        "learners.addmod.meta_mlp.learning_rate: .*nan",
    ),
    "unknown activation": (
        {"learners.arc1d.meta_mlp.activation": "step"},
        "learners.arc1d.meta_mlp.activation: .*step",
    ),
    "no hidden layer": ({"learners.arc1d.meta_mlp.hidden": []}, "learners.arc1d.meta_mlp.hidden: "),
    "heads that do not fit": (
        {"templates.addmod.n_heads": 3},
        "templates.addmod: d_model = 8 is not a multiple of n_heads = 3",
    ),
    "unknown schedule": ({"training.addmod.schedule": "linear"}, "training.addmod.schedule: .*linear"),
    "n longer than the list": ({"programs.sumfirst.ood_n": [6]}, "programs.sumfirst: n = 6 is longer than the list"),
    "n in two splits": ({"programs.sumfirst.val_n": [2]}, "programs.sumfirst: holds 2 more than once"),
    "empty range": ({"programs.sumfirst.low": 2}, "programs.sumfirst: low = 2 must be below high = 2"),
    "sums that do not fit the files": ({"programs.sumfirst.low": -7000}, "programs.sumfirst: sums beyond ±32767"),
    "more lists than numbers": ({"programs.sumfirst.length": 28}, "programs.sumfirst: there are too many lists"),
    "prime that does not fit the files": ({"programs.addmod.primes": [3, 32771]}, "programs.addmod.primes.1: .*32767"),
    "composite": (
        {"programs.addmod.primes": [3, 5, 7, 9, 11]},
        "programs.addmod: primes holds 9, which is not a prime",
    ),
    "one is no prime": ({"programs.addmod.primes": [1, 3, 5, 7, 11]}, "programs.addmod: primes holds 1, which is not"),
    "prime twice": ({"programs.addmod.primes": [3, 5, 7, 11, 3]}, "programs.addmod: holds 3 more than once"),
    "stray ood prime": (
        {"programs.addmod.ood_primes": [17]},
        "programs.addmod: ood_primes holds 17, which is not one of",
    ),
    "stray val prime": (
        {"programs.addmod.val_primes": [17]},
        "programs.addmod: val_primes holds 17, which is not one of",
    ),
    "strict splits that meet": (
        {"programs.addmod.split": "strict", "programs.addmod.val_primes": [3, 5]},
        "programs.addmod: 5 is in val_primes and in ood_primes",
    ),
    "every prime held out": (
        {"programs.addmod.ood_primes": [3, 5, 7, 11, 13], "programs.addmod.val_primes": [3]},
        "programs.addmod: ",
    ),
    "every prime held out, strict": (
        {
            "programs.addmod.split": "strict",
            "programs.addmod.ood_primes": [3, 5],
            "programs.addmod.val_primes": [7, 11, 13],
        },
        "programs.addmod: every prime is held out",
    ),
    "unknown key of a variant": (
        {"ablations.variants.avg": {"aggregaton": "avg"}},
        "ablations.variants.avg.aggregaton: is not a known setting; check its spelling",
    ),
    "unknown value of a variant": (
        {"ablations.variants.avg.aggregation": "max"},
        "ablations.variants.avg.aggregation: .*max",
    ),
    "a variant of another setting": ({"ablations.variants.avg.d_h": 8}, "ablations.variants.avg.d_h: is not a known"),
    "a variant that is no name": (
        {"ablations.variants": {"../avg": {}}},
        "ablations.variants: '../avg' is no name of a variant",
    ),
    "a hyphen in a variant": ({"ablations.variants": {"avg-0": {}}}, "ablations.variants: 'avg-0' is no name"),
    "no variants": ({"ablations.variants": {}}, "ablations.variants: "),
    "stray row": ({"ablations.rows": ["avg", "max"]}, "ablations: rows holds max, which is not one of variants"),
    "a row twice": ({"ablations.rows": ["avg", "avg"]}, "ablations.rows: holds avg more than once"),
    "no limit": ({"ablations.limit": 0}, "ablations.limit: .*0"),
    "ablations of a family without examples": (
        {"grid.families": ["sumfirst"], "ablations.families": ["addmod"]},
        "the file: ablations.families holds addmod, which grid.families leaves out",
    ),
    "stray parameter": ({"programs.arc1d.held_out": [7]}, "programs.arc1d: held_out holds 7, which is not one of"),
    "all parameters held out": ({"programs.arc1d.held_out": [1, 2, 3]}, "programs.arc1d: every parameter is held out"),
    "ten is no colour": ({"programs.arc1d.parameters": [2, 10]}, "programs.arc1d.parameters.1: .*10"),
    "move longer than the row": (
        {"programs.arc1d.length": 4, "programs.arc1d.parameters": [2, 4]},
        "programs.arc1d: a move by 4 does not fit rows of length 4",
    ),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_wrong_setting_is_named_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "params.yaml"
    write_params(path, changed(tiny_values(), changes))
    with pytest.raises(UserError) as error:
        load(path)
    assert re.search(re.escape(f"{path}: ") + message, str(error.value))
    assert "\n" not in str(error.value)


def test_the_rest_of_several_findings_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    write_params(path, changed(tiny_values(), {"training.addmod.steps": 0, "training.arc1d.steps": 0, "x": 1}))
    with pytest.raises(UserError, match=r"training.addmod.steps: .*\(and 2 more\)$"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid:\n  seeds: [1, 2\nevaluation: 3\n", "line 3 is not valid YAML"),
        ("grid:\n\tseeds: 1\n", "line 2 is not valid YAML"),
        ("grid: 1\ngrid: 2\n", "line 2 is not valid YAML: .*duplicate key"),
        ("", "holds no settings"),
        ("- grid\n", "holds no settings"),
        ("just words\n", "holds no settings"),
    ],
)
def test_what_is_not_yaml_settings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.yaml is missing; copy profiles/laptop.yaml"):
        load(tmp_path / "absent.yaml")
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\x00grid")
    with pytest.raises(UserError, match=r"params.yaml is not valid YAML"):
        load(path)


SHIPPED = [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_settings_load(path: Path) -> None:
    settings = load(path)
    for family in FAMILIES:
        for learner in LEARNERS:
            assert settings.learner(family, learner).learning_rate > 0


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("a: 1e-3\nb: 010\nc: yes\nd: 12:30:45\ne: [1, 2.5]\n")
    values = read_yaml(path)
    assert values == {"a": 0.001, "b": 10, "c": "yes", "d": "12:30:45", "e": [1, 2.5]}
    assert isinstance(values["a"], float)


def test_settings_are_frozen(params: Params) -> None:
    for section, name in [(params, "grid"), (params.grid, "seeds"), (params.learner("addmod", "meta_mlp"), "hidden")]:
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(section, name, None)
    assert isinstance(params.grid.seeds, tuple)


@pytest.mark.parametrize("seeds", [[0, 1], ["0-3", 7]], ids=str)
def test_settings_survive_their_own_json(seeds: list[int | str]) -> None:
    params = tiny({"grid.seeds": seeds, "ablations.seeds": seeds})
    assert Params.model_validate(params.model_dump(mode="json")) == params


def test_packs_and_single_seeds_stand_side_by_side() -> None:
    grid = tiny({"grid.seeds": ["0-3", 7]}).grid
    assert grid.seeds == ("0-3", 7)
    assert grid.all_seeds == (0, 1, 2, 3, 7)


def test_a_variant_is_the_settings_but_for_what_it_names(params: Params) -> None:
    ablations = params.ablations
    variant = ablations.variant("avg_norm")
    named = {"aggregation": "avg", "use_norm": True}
    assert variant == ablations.settings.model_copy(update=named)
    assert type(variant).model_validate(variant.model_dump()) == variant
    alike = tiny({"ablations.variants.avg_norm.bidirectional": None}).ablations
    assert alike.variant("avg_norm") == variant


ADDMOD = tiny().programs.addmod.model_dump()


@given(st.integers(2, 300))
def test_primes_are_told_from_composites(p: int) -> None:
    sieve = [n for n in range(2, 301) if all(n % q for q in range(2, n))]
    values = ADDMOD | {"primes": [p, 307, 311], "ood_primes": [307], "val_primes": [311]}
    if p in sieve:
        assert Addmod.model_validate(values).primes[0] == p
    else:
        with pytest.raises(pydantic.ValidationError, match=f"holds {p}, which is not a prime"):
            Addmod.model_validate(values)
