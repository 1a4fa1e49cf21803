"""The places of a worker: its flow runs are processes of their own, and find them in the environment."""

from __future__ import annotations

import json
import os

from pipeline.flows.devices import Devices

VARIABLE = "NEUROP_SLOTS"


def announce(devices: Devices) -> dict[str, str]:
    """The environment that tells a worker's flow runs which devices there are."""
    return {VARIABLE: json.dumps(devices.names)}


def slots() -> Devices:
    """The devices of the worker that started this process; one core if there is none."""
    return Devices(json.loads(os.environ.get(VARIABLE, '[""]')))
