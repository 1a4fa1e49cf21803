"""Stages on other machines: each a Prefect flow run that a worker of a work pool takes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pipeline.errors import UserError
from pipeline.files import digest
from pipeline.flows.process import Cancelled, StageFailed
from pipeline.flows.server import now, server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

STAGE_FLOW = "neurop-stage"  # the flow that a worker runs; its deployments have the names of pools
REFUSED = "Refused"  # its state when the stage refused its settings: running it again does not help
BEAT, PROGRESS, WORKER = "neurop.beat", "neurop.progress", "neurop.worker"  # labels that it keeps up to date
SECONDS_BETWEEN_BEATS = 5.0
SECONDS_BETWEEN_LOOKS = 2.0
# A worker that says nothing for so long is given up. Only changes are looked at: machines' clocks may differ.
SECONDS_OF_SILENCE = 60.0
SECONDS_TO_BEGIN = 90.0  # from taking a stage to the first sign: a process starts and imports much
SECONDS_WITHOUT_WORKER = 120.0
SECONDS_WITHOUT_SERVER = 120.0
# Workers take what they have devices for; the rest waits in the pool.
IN_FLIGHT = 64


def queue(commit: str) -> str:
    """The work queue of a commit: a worker takes stages of its own code only."""
    return f"commit-{commit[:12]}"


def worker_name(host: str, commit: str) -> str:
    """What a worker calls itself, so that everybody sees which code it has."""
    return f"{host}@{commit[:12]}"


@dataclass
class _Watch:
    """When something was last heard of a flow run."""

    heard: float = field(default_factory=time.monotonic)
    last: Any = None

    def silent(self, value: Any) -> float:
        """Seconds since `value` last changed."""
        if value != self.last:
            self.last, self.heard = value, time.monotonic()
        return time.monotonic() - self.heard


class Pool:
    """A work pool, for the stages of one commit and one set of settings. `reached` makes one.

    Args:
        name: of the work pool.
        commit: of the flow; workers at another one take nothing of it.
        params: the text of `params.yaml`.
    """

    def __init__(self, client: SyncPrefectClient, name: str, commit: str, params: str, deployment: UUID) -> None:
        self.client, self.name, self.commit, self.params = client, name, commit, params
        self.deployment = deployment
        self._runs: dict[str, UUID] = {}
        self._found: dict[UUID, FlowRun] = {}
        self._looked = float("-inf")
        self._ending = threading.Event()
        self._lock = threading.RLock()

    @staticmethod
    def reached(name: str, commit: str, params: str) -> Pool:
        """The pool, if it can run stages now.

        Raises `UserError` if no server answers, or the server has no such pool, or no worker of it is online that is at
        this commit.
        """
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        with server() as asked:
            names = sorted(pool.name for pool in asked.read_work_pools())
            if name not in names:
                raise UserError(
                    f"there is no work pool '{name}' (there are: {', '.join(names) or 'none'}); {_start(name)}"
                )
            try:
                deployment = asked.read_deployment_by_name(f"{STAGE_FLOW}/{name}").id
            except ObjectNotFound:
                raise UserError(
                    f"no worker of this project was ever in the work pool '{name}'; {_start(name)}"
                ) from None
        client = get_client(sync_client=True)
        client.__enter__()  # for as long as the flow lasts
        pool = Pool(client, name, commit, params, deployment)
        pool.check()
        return pool

    def check(self) -> None:
        """Raises `UserError` if no worker is online that is at the flow's commit."""
        online = self.workers()
        if not online:
            raise UserError(f"no worker of the work pool '{self.name}' is online; {_start(self.name)}")
        mine = [each for each in online if each.endswith(f"@{self.commit[:12]}")]
        if not mine:
            raise UserError(
                f"the flow is at commit {self.commit[:12]}, and of the work pool '{self.name}' there are only "
                f"{', '.join(online)}; check the commit out there and start the worker again"
            )

    def workers(self) -> list[str]:
        """The workers that are online."""
        found = self.client.read_workers_for_work_pool(self.name)
        return sorted(each.name for each in found if str(each.status).rpartition(".")[2].upper() == "ONLINE")

    def run(self, name: str, inputs: Mapping[str, Any]) -> None:
        """Have a worker run a stage and wait for it. A run of it that another flow began is waited for instead.

        Args:
            inputs: the entries of the stages that made what it needs; see `exchange`.

        Raises `StageFailed`, or `Cancelled` if this flow ends.
        """
        identifier = self._begin(name, inputs)
        watch, without = _Watch(), _Watch()
        while True:
            if self._ending.wait(SECONDS_BETWEEN_LOOKS):
                self._stop(identifier, "Cancelled", "the flow that asked for it has ended")
                raise Cancelled(name)
            found = self._look(identifier)
            state = found.state
            assert state is not None
            if state.is_completed():
                return
            if state.is_final():
                why = state.message or f"the flow run {found.name} {state.name}"
                raise StageFailed(_first(why), again=state.name != REFUSED)
            if state.is_scheduled():
                if without.silent(bool(self._mine())) > SECONDS_WITHOUT_WORKER and not without.last:
                    self._stop(identifier, "Cancelled", "no worker")
                    raise StageFailed(f"no worker of the work pool '{self.name}' is online any more", again=False)
                watch = _Watch()
                continue
            patience = SECONDS_OF_SILENCE if BEAT in found.labels else SECONDS_TO_BEGIN
            if watch.silent((state.type, found.labels.get(BEAT))) > patience:
                why = f"{found.labels.get(WORKER, 'its worker')} said nothing for {patience:.0f} s"
                self._stop(identifier, "Crashed", why)
                raise StageFailed(why, again=True)

    def progress(self, name: str) -> str:
        """What is known of a stage that is under way: its worker, and what it printed last."""
        with self._lock:
            identifier = self._runs.get(name)
            found = self._found.get(identifier) if identifier else None
        if found is None or found.state is None:
            return ""
        if found.state.is_scheduled():
            return f"waits for a worker of {self.name}"
        labels = [str(found.labels.get(key, "")) for key in (WORKER, PROGRESS)]
        return "  ".join(filter(None, labels))

    def end(self) -> None:
        """Cancel what is under way; start nothing any more."""
        self._ending.set()

    def _begin(self, name: str, inputs: Mapping[str, Any]) -> UUID:
        from prefect.client.schemas.filters import (
            FlowRunFilter,
            FlowRunFilterState,
            FlowRunFilterStateType,
            FlowRunFilterTags,
        )
        from prefect.client.schemas.objects import StateType

        tag = f"neurop:{digest([self.commit, self.params, name])}"
        under_way = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]
        which = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[tag]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=under_way)),
        )
        found = self._asked(lambda: self.client.read_flow_runs(flow_run_filter=which))
        run = found[0] if found else self._asked(lambda: self._create(name, inputs, tag))
        with self._lock:
            self._runs[name] = run.id
        return run.id

    def _create(self, name: str, inputs: Mapping[str, Any], tag: str) -> FlowRun:
        from prefect.states import Scheduled

        return self.client.create_flow_run_from_deployment(
            self.deployment,
            parameters={"name": name, "commit": self.commit, "params": self.params, "inputs": json.dumps(inputs)},
            state=Scheduled(scheduled_time=now(self.client)),
            name=name,
            tags=[tag],
            work_queue_name=queue(self.commit),
        )

    def _look(self, identifier: UUID) -> FlowRun:
        """The flow run as it was a moment ago: one question serves all that wait."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        with self._lock:
            if identifier not in self._found or time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS / 2:
                which = FlowRunFilter(id=FlowRunFilterId(any_=list(self._runs.values())))
                found = self._asked(lambda: self.client.read_flow_runs(flow_run_filter=which, limit=200))
                self._found = {run.id: run for run in found}
                self._looked = time.monotonic()
            if identifier not in self._found:
                raise StageFailed("its flow run was deleted", again=True)
            return self._found[identifier]

    def _mine(self) -> list[str]:
        return [each for each in self._asked(self.workers) if each.endswith(f"@{self.commit[:12]}")]

    def _stop(self, identifier: UUID, kind: str, why: str) -> None:
        from prefect import states

        state = getattr(states, kind)(message=why)
        self._asked(lambda: self.client.set_flow_run_state(identifier, state, force=True))

    def _asked(self, question: Any) -> Any:
        """Ask the server, again and again for a while where it does not answer."""
        import httpx

        until = time.monotonic() + SECONDS_WITHOUT_SERVER
        with self._lock:
            while True:
                try:
                    return question()
                except (httpx.HTTPError, OSError) as error:
                    if time.monotonic() > until:
                        raise StageFailed(f"the Prefect server does not answer ({error})", again=False) from None
                    if self._ending.wait(SECONDS_BETWEEN_LOOKS):
                        raise Cancelled("the flow ends") from None


def _start(name: str) -> str:
    return f"start one on a machine that has what it takes: `neurop worker {name}`"


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
