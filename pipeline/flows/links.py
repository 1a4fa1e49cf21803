"""From a stage to its runs in MLflow, and from those to the flow run in which they trained."""

from __future__ import annotations

import os
from collections.abc import Iterable

from prefect import runtime

from pipeline import tracking
from pipeline.packs import Pack
from pipeline.tracking.pages import FLOW_RUN, FLOW_URL


def announce() -> None:
    """Within a flow run: tell the stages, which are processes of their own, of which one they are part."""
    os.environ[FLOW_RUN] = str(runtime.flow_run.id)
    # A server of the flow's own ends with it, and its pages too.
    os.environ[FLOW_URL] = (runtime.flow_run.ui_url or "") if "PREFECT_API_URL" in os.environ else ""


def links(stages: Iterable[str]) -> dict[str, str]:
    """The page of each training stage's run in MLflow, of a pack the first seed's; those that are known.

    Empty if runs are recorded in a file: then there are no pages.
    """
    names = {stage: name for stage in stages if (name := run_name(stage))}
    found = tracking.links(names.values())
    return {stage: found[name] for stage, name in names.items() if name in found}


def run_name(stage: str) -> str:
    """The run that a training stage makes, as tracking calls it; empty for other stages."""
    group, _, item = stage.partition("@")
    if group not in ("train", "ablate") or item.count("-") < 2:
        return ""
    family, name, seed = item.split("-", 2)
    study = family if group == "train" else f"ablations-{family}"
    return f"{study}/{name}/{Pack.parse(seed).seeds[0]}"
