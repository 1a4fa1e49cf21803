"""What a setting does and what reruns when it changes; which runs exist, which are stale, and why."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import get_annotations
from pathlib import Path
from typing import Any, get_args, get_origin

from pipeline.errors import UserError
from pipeline.params import Params, Section, read_yaml


@contextmanager
def repository() -> Iterator[Any]:
    """The DVC repository here. Raises `UserError` if there is none or its files do not parse."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo() as repository:
            yield repository
    except DvcException as error:
        raise UserError(f"DVC: {error}") from None


def setting(name: str, path: Path = Path("params.yaml")) -> dict[str, Any]:
    """Value, meaning, comment and affected stages of the setting `name` (dotted).

    Raises `UserError` if there is no such setting.
    """
    value: Any = read_yaml(path)
    section: Any = Params
    meaning = Params.__doc__ or ""
    for i, key in enumerate(keys := name.split(".")):
        value = {**_defaults(section), **value} if isinstance(value, dict) else value
        if not isinstance(value, dict) or key not in value:
            known = f"; there are {', '.join(value)}" if isinstance(value, dict) else ""
            raise UserError(f"{path} has no setting {'.'.join(keys[: i + 1])}{known}")
        value = value[key]
        owner, section = section, _inner(section, key)
        meaning = _meaning(owner, section, key) or meaning
    own, downstream = affected(name)
    return {
        "value": value,
        "meaning": " ".join(meaning.split()),
        "comment": _comment(path, keys),
        "stages": own,
        "downstream": downstream,
    }


def _defaults(section: Any) -> dict[str, Any]:
    """The settings that a file may leave out, as it would write them."""
    if not (isinstance(section, type) and issubclass(section, Section)):
        return {}
    fields = section.model_fields.items()
    return {key: _written(field.default) for key, field in fields if not field.is_required()}


def _written(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _meaning(owner: Any, section: Any, key: str) -> str:
    """What explains a key of `owner`: the text of its own class, or of the class that declares it."""
    if section is None:
        return _declaring(owner, key).__doc__ or ""
    return "" if get_origin(section) is dict else section.__doc__ or ""


def _declaring(section: Any, key: str) -> Any:
    """The settings class whose text explains a plain value: the one that declares it."""
    return next((kind for kind in section.__mro__ if key in get_annotations(kind)), section)


def _inner(section: Any, key: str) -> Any:
    """The settings class of a key, or None where the key is a plain value.

    Below named sections of one class (`ablations.variants`) that class stands for each of them.
    """
    if get_origin(section) is dict:
        return get_args(section)[1]
    inner = section.model_fields[key].annotation
    named = get_origin(inner) is dict
    return inner if named or (isinstance(inner, type) and issubclass(inner, Section)) else None


def _comment(path: Path, keys: list[str]) -> str:
    """The comment behind a setting in the file, found by its indented key."""
    depth, found = 0, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if depth < len(keys) and indent == 2 * depth and text.startswith(f"{keys[depth]}:"):
            depth += 1
            if depth == len(keys):
                found = text.partition(" # ")[2]
    return found


def affected(name: str) -> tuple[list[str], list[str]]:
    """Stages that depend on a setting by value, and the stages behind them, from DVC's own graph."""
    import networkx as nx

    with repository() as found:
        own, graph = [], found.index.graph
        for stage in found.index.stages:
            keys = [key for dep in stage.deps for key in getattr(dep, "params", None) or ()]
            if any(_overlap(name, key) for key in keys):
                own.append(stage)
        # DVC's edges point from a stage to what it needs.
        behind = {s for stage in own for s in nx.ancestors(graph, stage)} - set(own)
        return sorted(s.addressing for s in own), sorted(s.addressing for s in behind)


def _overlap(a: str, b: str) -> bool:
    return a == b or a.startswith(b + ".") or b.startswith(a + ".")


def stages() -> list[tuple[str, str, str]]:
    """Every stage as (name, state, why); state is fresh, stale or missing."""
    with repository() as found:
        changed = found.status()
        rows = []
        for stage in found.index.stages:
            changes = changed.get(stage.addressing, [])
            missing = all(not Path(out.fs_path).exists() for out in stage.outs)
            state = "missing" if missing else "stale" if changes else "fresh"
            rows.append((stage.addressing, state, "; ".join(_reasons(changes))))
        return rows


def _reasons(changes: list[Any]) -> Iterator[str]:
    """DVC's status of one stage as short sentences."""
    for change in changes:
        if not isinstance(change, dict):
            yield str(change)
            continue
        for what, items in change.items():
            if what == "changed outs":
                yield from (f"{path} is {state}" for path, state in items.items())
            else:
                yield from _changed_inputs(items)


def _changed_inputs(items: dict[str, Any]) -> Iterator[str]:
    for path, state in items.items():
        if isinstance(state, dict):
            yield from (f"setting {key} {value}" for key, value in state.items())
        else:
            yield f"{path} {state}"
