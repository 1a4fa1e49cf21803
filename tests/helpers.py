"""What several tests share: tiny settings, inputs on disk, untrained learners, comparisons to the bit."""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML
from torch import Tensor

from pipeline.files import write_json
from pipeline.learners import Learner
from pipeline.params import Params, read_yaml
from pipeline.programs import Family, make_family
from pipeline.programs.tables import write_splits
from pipeline.templates import Theta, make_template
from pipeline.training.run import seeded_learner

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "profiles" / "paper.yaml"
ABSENT = object()

PROGRAMS: dict[str, dict[str, Any]] = {
    "sumfirst": {
        "length": 5,
        "low": -2,
        "high": 2,
        "train_n": [1, 2, 3],
        "val_n": [4],
        "ood_n": [5],
        "train": 61,
        "test": 13,
        "val": 40,
        "ood": 30,
    },
    "addmod": {"primes": [3, 5, 7, 11, 13], "ood_primes": [5, 11], "val_primes": [7], "test": 20, "val": 31},
    "arc1d": {"length": 12, "parameters": [1, 2, 3], "held_out": [2], "train": 100, "test": 33, "val": 27, "ood": 24},
}
TEMPLATES: dict[str, dict[str, Any]] = {
    "sumfirst": {"hidden": [6]},
    "addmod": {"d_model": 8, "n_heads": 2, "d_mlp": 12},
    "arc1d": {"d_model": 6, "n_heads": 2, "d_mlp": 8},
}
LEARNER: dict[str, Any] = {
    "budget": None,
    "hidden": [8, 8],
    "d_model": 8,
    "n_layers": 1,
    "n_heads": 2,
    "slot_width": 2,
    "mixer": 4,
    "d_h": 4,
    "rounds": 1,
    "width": 8,
    "intent_hidden": [4],
    "intent_slots": "all",
}
TRAINING = {"steps": 12, "batch": 24, "meta_batch": None, "schedule": "cosine", "warmup": 2, "eval_every": 5}


@cache
def _profile() -> dict[str, Any]:
    values: dict[str, Any] = read_yaml(PAPER)
    return values


def paper_values() -> dict[str, Any]:
    """The paper's profile as plain values."""
    return _unshared(_profile())


def _unshared(value: Any) -> Any:
    """A copy in which no two places share a value, as YAML anchors do."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return list(map(_unshared, value)) if isinstance(value, list) else value


def tiny_values() -> dict[str, Any]:
    """The paper's profile as plain values, cut to tiny sizes."""
    values = paper_values()
    values["grid"]["seeds"] = [0, 1]
    values["evaluation"]["bootstrap"] = 100
    values["ablations"]["families"] = []
    values["ablations"]["training"] |= TRAINING
    values["ablations"]["settings"] |= {key: LEARNER[key] for key in ("d_h", "rounds", "width", "intent_hidden")}
    for family in values["programs"]:
        values["programs"][family] |= PROGRAMS[family]
        values["templates"][family] |= TEMPLATES[family]
        values["training"][family] |= TRAINING
        for name, section in values["learners"][family].items():
            known = {key: value for key, value in LEARNER.items() if key in section}
            values["learners"][family][name] = {**section, **known}
    return values


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of the values with dotted settings changed, or taken out where the new value is `ABSENT`."""
    values = _unshared(values)
    for name, value in changes.items():
        *path, last = name.split(".")
        section = values
        for key in path:
            section = section[key]
        if value is ABSENT:
            del section[last]
        else:
            section[last] = value
    return values


def write_params(path: Path, values: dict[str, Any]) -> None:
    """Write plain values as YAML."""
    with open(path, "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(values, file)


def tiny(changes: dict[str, Any] | None = None) -> Params:
    """Tiny settings, with dotted settings changed."""
    return Params.model_validate(changed(tiny_values(), changes or {}))


def paper() -> Params:
    """The settings of the paper."""
    return Params.model_validate(paper_values())


def write_inputs(root: Path, params: Params, family: str) -> None:
    """The splits and the template of a family, where the stages put them."""
    write_splits(root / "data" / "splits" / family, make_family(params, family).generate())
    write_json(root / "data" / "graphs" / family / "template.json", make_template(params, family).spec())


def make(params: Params, family: str, learner: str, seed: int = 0) -> Learner:
    """An untrained learner with the initial parameters of a seed."""
    section = params.learner(family, learner)
    return seeded_learner(learner, make_family(params, family), make_template(params, family), section, seed)


def codes(family: Family, split: str = "train") -> Tensor:
    """The intent codes [K, d_u] of a split."""
    return torch.from_numpy(family.codes(family.intents(split)))


def inputs(family: Family, n: int, seed: int = 0, split: str = "train") -> tuple[Tensor, Tensor]:
    """n inputs [K, n, l] of each intent of a split and their right answers [K, n, m]."""
    rng, intents = np.random.default_rng(seed), family.intents(split)
    xs = [family.decode(u, rng.integers(0, family.space(u), n)) for u in intents]
    ys = [family.rule(u, x) for u, x in zip(intents, xs, strict=True)]
    return torch.from_numpy(np.stack(xs)), torch.from_numpy(np.stack(ys))


def random_theta(template: Any, k: int, dtype: torch.dtype = torch.float32) -> Theta:
    """K random weight sets whose tensors take gradients."""
    theta = template.split(torch.randn(k, template.n_slots, dtype=dtype) * 0.5)
    return {name: value.detach().clone().requires_grad_() for name, value in theta.items()}


def same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two named tensor sets are equal to the bit (NaN equals NaN)."""
    return left.keys() == right.keys() and all(
        value.dtype == right[name].dtype and value.numpy().tobytes() == right[name].numpy().tobytes()
        for name, value in left.items()
    )


def file_bytes(directory: Path) -> dict[str, bytes]:
    """Contents of all files below a directory, by their path in it."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def free_port() -> int:
    """A port of the loopback that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
