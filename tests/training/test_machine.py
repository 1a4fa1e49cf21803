"""The machine: what the environment may say, and what is refused."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training import machine


def test_a_run_uses_one_thread_and_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUROP_THREADS", raising=False)
    assert machine.prepare() == torch.device("cpu")
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    facts = machine.facts(torch.device("cpu"))
    assert (facts["device_type"], facts["threads"], facts["torch"]) == ("cpu", 1, torch.__version__)
    assert facts["peak_memory_mib"] > 10


@pytest.mark.parametrize("threads", ["0", "-1", "two", "", "1.5", "100000", "²"])
def test_threads_that_are_no_number_are_refused(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("NEUROP_THREADS", threads)
    with pytest.raises(UserError, match=f"NEUROP_THREADS is '{threads}'; give a whole number"):
        machine.prepare()


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cpu:cpu", "meta", "mps", "cpu:3"])
def test_unknown_devices_are_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setenv("NEUROP_DEVICE", device)
    with pytest.raises(UserError, match=f"NEUROP_DEVICE is '{device}'; give auto, cpu, cuda"):
        machine.prepare()


def test_a_device_that_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROP_DEVICE", "cuda:99")
    with pytest.raises(UserError, match=r"NEUROP_DEVICE is 'cuda:99', but this machine has \d+ CUDA devices"):
        machine.prepare()
