"""What a deployment may be asked for: a profile, and a part of its grid, as the text of `params.yaml`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ruamel.yaml import YAML

from pipeline import params
from pipeline.errors import UserError

# Written out, so that Prefect's forms offer them and its server refuses any other when a run is asked for.
Profile = Literal["params.yaml", "laptop", "paper", "relational", "smoke"]
Family = Literal["sumfirst", "addmod", "arc1d"]
Learner = Literal["direct_mlp", "direct_transformer", "meta_mlp", "meta_gmlp", "meta_gmlp_mx", "meta_gnn"]


def settings(
    clone: Path,
    profile: str,
    families: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    seeds: Sequence[int | str] | None = None,
) -> str:
    """The text of the profile's `params.yaml` with this part of its grid; without one, the file's own bytes.

    Raises `UserError` if there is no such profile or its settings are wrong.
    """
    path = clone / "params.yaml" if profile == "params.yaml" else clone / "profiles" / f"{profile}.yaml"
    if profile not in get_args(Profile) or not path.is_file():
        raise UserError(f"there is no profile '{profile}'; there are {', '.join(get_args(Profile))}")
    text = path.read_text(encoding="utf-8")
    chosen: dict[str, Any] = {"families": families, "learners": learners, "seeds": seeds}
    chosen = {key: list(value) for key, value in chosen.items() if value is not None}
    if chosen:
        text = _with_grid(text, chosen)
    params.checked(YAML(typ="safe", pure=True).load(text), path.relative_to(clone))
    return text


def _with_grid(text: str, chosen: dict[str, Any]) -> str:
    yaml = YAML()  # keeps comments, order and anchors
    yaml.width = 10_000
    values = yaml.load(text)
    values["grid"].update(chosen)
    known = values["ablations"]["families"]
    values["ablations"]["families"] = [name for name in known if name in values["grid"]["families"]]
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
