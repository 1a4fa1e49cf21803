"""From a stage to its runs in MLflow, and from a stage's process to the flow run that it is part of."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.packs import Pack

# What training tags its MLflow runs with.
FLOW_RUN, FLOW_URL = "NEUROP_FLOW_RUN", "NEUROP_FLOW_URL"


def links(stages: Iterable[str]) -> dict[str, str]:
    """The page of each training stage's run in MLflow, of a pack the first seed's; those that are known.

    Empty if runs are recorded in a file: then there are no pages.
    """
    from pipeline import tracking

    names = {stage: name for stage in stages if (name := run_name(stage))}
    found = tracking.links(names.values()) if hasattr(tracking, "links") else {}
    return {stage: found[name] for stage, name in names.items() if name in found}


def run_name(stage: str) -> str:
    """The run that a training stage makes, as tracking calls it; empty for other stages."""
    group, _, item = stage.partition("@")
    if group not in ("train", "ablate") or item.count("-") < 2:
        return ""
    family, name, seed = item.split("-", 2)
    study = family if group == "train" else f"ablations-{family}"
    return f"{study}/{name}/{Pack.parse(seed).seeds[0]}"
