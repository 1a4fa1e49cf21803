"""Fixtures of all tests: tiny settings, their inputs on disk, one trained run; hypothesis without random numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from pipeline.flows.repair import forget
from pipeline.params import Params
from pipeline.training.run import Places, RunId, train
from tests.helpers import tiny, write_inputs

os.environ["NEUROP_TRACKING"] = "off"
os.environ["NEUROP_DEVICE"] = "cpu"
os.environ.pop("NEUROP_THREADS", None)

settings.register_profile(
    "neurop",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("neurop")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As training sets it: bits depend on the number of threads, and small matrices gain nothing from a second."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.fixture(scope="session", autouse=True)
def memory_freed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What workspaces keep in the machine's memory goes when the tests end."""
    yield
    for folder in tmp_path_factory.getbasetemp().rglob(".dvc"):
        forget(folder.parent)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Every test starts from the same generator state, whatever ran before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def params() -> Params:
    """The paper's settings cut to sizes that train in a fraction of a second."""
    return tiny()


@pytest.fixture
def places(tmp_path: Path, params: Params) -> Places:
    """A working directory with the tiny splits and template of every family."""
    for family in params.grid.families:
        write_inputs(tmp_path, params, family)
    return Places(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, params: Params) -> tuple[Places, RunId]:
    """One finished run of sumfirst/meta_mlp. Tests that change its files copy them first."""
    root, run = tmp_path_factory.mktemp("trained"), RunId("sumfirst", "meta_mlp", 3)
    write_inputs(root, params, run.study)
    train(params, run, places=Places(root))
    return Places(root), run
