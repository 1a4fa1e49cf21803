"""A run's configuration as MLflow shows it: an identity, and flat settings."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

# What training adds to the configuration it was given.
RESULTS = ("selected", "parameters", "diverged")
LONGEST = 6000  # characters of a parameter's value in MLflow


def identity(config: dict[str, Any], *, seed: bool = True) -> str:
    """Digest of what determines a run, as in `runs.json`; without `seed`, of what its seeds share."""
    from pipeline.files import digest

    left_out = RESULTS if seed else (*RESULTS, "seed")
    return digest({key: value for key, value in config.items() if key not in left_out})


def settings(config: dict[str, Any]) -> dict[str, str]:
    """The configuration as dotted names and texts: `training.steps`: `50000`."""
    return _flat({key: value for key, value in config.items() if key not in ("selected", "diverged")})


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            flat[prefix + key] = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return flat


def git(root: Path) -> dict[str, str]:
    """Tags for the commit and for a tree that differs from it; none outside a Git repository.

    `dvc.lock` does not count: `dvc repro` rewrites it after each stage.
    """
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", ":/", ":(top,exclude)dvc.lock")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "neurop.dirty": "true" if changes else "false"}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
