"""From a run to the Prefect flow that trained it, and to its page in MLflow."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from pipeline.errors import UserError
from pipeline.tracking import address
from pipeline.tracking.store import NOTE, RUN, Store, reported

FLOW_RUN, FLOW_URL = "NEUROP_FLOW_RUN", "NEUROP_FLOW_URL"
LONGEST_URL = 500


def flow_tags() -> dict[str, str]:
    """Tags of a run that trains inside a Prefect flow: which flow run, and where its page is; none outside.

    What the environment says and is neither a flow run's id nor a page's address is left out: training goes on.
    """
    identifier, url = os.environ.get(FLOW_RUN, ""), os.environ.get(FLOW_URL, "")
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", identifier):
        return {}
    tags = {"neurop.prefect_run": identifier}
    if _is_page(url):
        tags |= {"neurop.prefect_url": url, NOTE: f"Trained in the Prefect flow run [{identifier}]({url})."}
    return tags


def _is_page(url: str) -> bool:
    # No spaces or brackets, which would end the link in a note, and no password, which a tag would keep for all to see.
    if len(url) > LONGEST_URL or re.search(r"[\s()<>\[\]@]", url):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def links(names: Iterable[str]) -> dict[str, str]:
    """The page of the newest MLflow run of each of these (`addmod/meta_mlp/0`) that has one.

    None has, and nothing is said, if the tracking address is not a server's or does not answer.
    """
    if not address.served():
        return {}
    try:
        store = Store.connect()
        with reported():
            return _links(store, names)
    except UserError:
        return {}


def _links(store: Store, names: Iterable[str]) -> dict[str, str]:
    experiments: dict[str, str | None] = {}
    found = {}
    for name in names:
        study = name.partition("/")[0]
        if study not in experiments:
            experiment = store.client.get_experiment_by_name(f"neurop/{study}")
            experiments[study] = None if experiment is None else experiment.experiment_id
        place = experiments[study]
        runs = [] if place is None else store.find(place, {RUN: name})
        if runs:
            found[name] = f"{address.shown().rstrip('/')}/#/experiments/{place}/runs/{runs[0].info.run_id}"
    return found
