"""The Prefect server that machines share: is it there, and what is registered on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Where a flow run's process goes first: into the clone of the worker that started it.
PULL = [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $NEUROP_WORKSPACE }}"}}]


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """A client of the server at `PREFECT_API_URL`. Raises `UserError` if there is none, or it does not answer."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        raise UserError("several machines need a Prefect server; set PREFECT_API_URL, such as http://HOST:4200/api")
    try:
        with get_client(sync_client=True) as client:
            client.hello().raise_for_status()
            yield client
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"the Prefect server at {url} does not answer ({why}); start it with `prefect server start`"
        ) from None


def now(client: SyncPrefectClient) -> datetime:
    """What the server's clock says: what is due by this machine's, which may be ahead, the server would hold back."""
    said = client.hello().headers.get("Date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)


def make_pool(client: SyncPrefectClient, name: str) -> None:
    """A work pool of processes, if there is none of this name. Raises `UserError` if it is of another kind."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    with suppress(ObjectAlreadyExists):  # also where another worker makes it at this moment
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    kind = client.read_work_pool(name).type
    if kind != "process":
        raise UserError(f"the work pool '{name}' is of type {kind}; give one of type process, or a new name")


def register(client: SyncPrefectClient, flow: Any, entrypoint: str, pool: str) -> None:
    """Make the deployment of a flow that bears the name of its pool, or bring it up to date."""
    client.create_deployment(
        flow_id=client.create_flow(flow),
        name=pool,
        entrypoint=entrypoint,
        pull_steps=PULL,
        work_pool_name=pool,
        parameter_openapi_schema=flow_schema(flow),
        enforce_parameter_schema=True,
    )


def flow_schema(flow: Any) -> dict[str, Any]:
    """The types of a flow's parameters, which the server checks when a run is asked for."""
    from prefect.utilities.callables import parameter_schema

    return parameter_schema(flow).model_dump_for_openapi()
