"""The page's anchors: where a number's runs, configuration and command are."""

from __future__ import annotations


def splits(family: str) -> str:
    """Where the family's examples are described."""
    return f"splits-{family}"


def runs(family: str, learner: str) -> str:
    """Where the runs of one learner on one family are."""
    return f"runs-{family}-{learner}"


def run(family: str, learner: str, seed: int) -> str:
    """Where one run is."""
    return f"run-{family}-{learner}-{seed}"
