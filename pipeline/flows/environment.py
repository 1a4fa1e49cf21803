"""How Prefect runs here. It reads its settings from the environment when it is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SETTINGS = {
    # A server of its own for the time of the flow, unless PREFECT_API_URL names one.
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    # Its first start makes the database, which takes a slow machine half a minute.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # the board says what failed
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "DO_NOT_TRACK": "true",
}


# A worker and a deployment have no board: what they do is in their log.
SERVICE = {
    **SETTINGS,
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}


def prepare(root: Path = Path(), settings: Mapping[str, str] = SETTINGS) -> None:
    """Set what the user has not set. Prefect's state belongs to the workspace, not to the user's home."""
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    home = Path(os.environ.setdefault("PREFECT_HOME", str((root / ".scratch" / "prefect").resolve())))
    home.mkdir(parents=True, exist_ok=True)
