"""`neurop deploy`: what `prefect.yaml` schedules, checked and registered on the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.flows.environment import SERVICE, prepare
from pipeline.flows.request import settings
from pipeline.flows.server import make_pool, server
from pipeline.flows.worker import HEAD
from pipeline.params import read_yaml

FILE = Path("prefect.yaml")


def deploy(names: list[str], pool: str | None, paused: bool = False) -> list[tuple[str, str]]:
    """Register the deployments of `prefect.yaml` (all, if none is named); returns each with its schedule.

    Args:
        pool: the work pool whose workers train, in place of the file's.
        paused: whether schedules wait until they are resumed in the UI.

    Raises `UserError`, before anything is registered, for an unknown deployment, profile, part of the grid or pool.
    """
    found = {each["name"]: each for each in _read()}
    unknown = sorted(set(names) - set(found))
    if unknown:
        raise UserError(f"{FILE} has no deployment '{unknown[0]}'; there are {', '.join(found)}")
    chosen = {name: found[name] for name in names or found}
    for name, each in chosen.items():
        _check(name, each.get("parameters") or {})
    prepare(settings=SERVICE)
    with server() as client:
        known = {each.name for each in client.read_work_pools()}
        for each in chosen.values():
            asked = pool or (each.get("parameters") or {}).get("pool")
            if asked and asked not in known:
                raise UserError(f"there is no work pool '{asked}'; start a worker of it first: `neurop worker {asked}`")
        make_pool(client, HEAD)
        for name, each in chosen.items():
            _register(name)
            _finish(client, name, each.get("parameters") or {}, pool, paused)
    return [(name, _schedule(each)) for name, each in chosen.items()]


def _read() -> list[dict[str, Any]]:
    values = read_yaml(FILE)
    found = values.get("deployments") if isinstance(values, dict) else None
    if not found or not all(isinstance(each, dict) and "name" in each for each in found):
        raise UserError(f"{FILE} lists no deployments; restore it from Git")
    return list(found)


def _check(name: str, parameters: dict[str, Any]) -> None:
    try:
        settings(
            Path(),
            parameters.get("profile", "params.yaml"),
            *(parameters.get(key) for key in ("families", "learners", "seeds")),
        )
    except UserError as error:
        raise UserError(f"{FILE}: {name}: {error}") from None


def _register(name: str) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", str(FILE), "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise UserError(f"Prefect does not take the deployment '{name}': {(lines or ['no reason given'])[-1]}")


def _finish(client: Any, name: str, parameters: dict[str, Any], pool: str | None, paused: bool) -> None:
    """What this call asks for beside the file."""
    from prefect.client.schemas.actions import DeploymentUpdate

    made = client.read_deployment_by_name(f"neurop/{name}")
    if pool is not None:
        client.update_deployment(made.id, DeploymentUpdate(parameters={**parameters, "pool": pool}))
    for schedule in made.schedules:
        client.update_deployment_schedule(made.id, schedule.id, active=not paused)


def _schedule(deployment: dict[str, Any]) -> str:
    schedules = deployment.get("schedules") or []
    return ", ".join(f"{each['cron']} {each.get('timezone', 'UTC')}" for each in schedules) or "when asked for"
