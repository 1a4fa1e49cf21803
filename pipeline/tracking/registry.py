"""Registered models: one of each recipe, a version of each published seed, the alias `best` where val says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.tracking.store import OUTPUTS, RUN, Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

BEST = "best"
WEIGHTS = "weights.safetensors"
NOTE = """Weights of {name}, a version of each published training; `{best}` is the seed that val selects. Each is a \
`weights.safetensors`, and the run that it came from has its `config.json`."""


def model(study: str, name: str) -> str:
    """The registered model of a recipe."""
    return f"neurop-{study}-{name}"


def register(store: Store, study: str, name: str, runs: Mapping[int, tuple[str, str]], best: int) -> None:
    """Give each seed's weights a version of the recipe's model, and the best seed's the alias.

    A version that is there is left as it is. Call it under `address.exclusive`.

    Args:
        store: MLflow.
        study: the recipe's study.
        name: the recipe's name.
        runs: by seed, the run that holds the weights, and the digest of the seed's outputs.
        best: the seed that val selects.
    """
    title = model(study, name)
    there = _versions(store, study, name)
    for seed, (run, digest) in runs.items():
        key = (f"{study}/{name}/{seed}", digest)
        if key not in there:
            there[key] = _version(store, title, run, seed, key)
    if best in runs:
        version = there[f"{study}/{name}/{best}", runs[best][1]].version
        if store.client.get_registered_model(title).aliases.get(BEST) != str(version):
            store.client.set_registered_model_alias(title, BEST, version)


def _versions(store: Store, study: str, name: str) -> dict[tuple[str, str], ModelVersion]:
    """The versions by run and digest of outputs; the model is made if it is not there."""
    title = model(study, name)
    if not store.client.search_registered_models(f"name = '{title}'"):
        note = NOTE.format(name=f"{study}/{name}", best=BEST)
        store.client.create_registered_model(title, {RUN: f"{study}/{name}"}, note)
    found: dict[tuple[str, str], ModelVersion] = {}
    token: str | None = ""
    while token is not None:
        page = store.client.search_model_versions(f"name = '{title}'", page_token=token or None)
        found |= {(one.tags.get(RUN, ""), one.tags.get(OUTPUTS, "")): one for one in page}
        token = page.token or None
    return found


def _version(store: Store, title: str, run: str, seed: int, key: tuple[str, str]) -> ModelVersion:
    source = f"{store.client.get_run(run).info.artifact_uri}/{WEIGHTS}"
    tags = {RUN: key[0], OUTPUTS: key[1]}
    return store.client.create_model_version(title, source, run, tags=tags, description=f"seed {seed}")
