"""The step: its batches and rates looked up on the device, nothing read back, nothing left of a warm-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.errors import UserError
from pipeline.params import LEARNERS, Params
from pipeline.programs import make_family
from pipeline.programs.tables import read_split
from pipeline.training import machine, step
from pipeline.training.batches import Batches
from pipeline.training.capture import WARM_UPS, warm_up
from pipeline.training.loop import Hooks, Trainer
from pipeline.training.run import Places
from pipeline.training.schedule import rate
from tests.helpers import make, same_bits, tiny
from tests.training.test_loop import CELLS

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
WITHOUT_CUDA = not torch.cuda.is_available()


def trainer(
    params: Params, places: Places, cell: tuple[str, str], seeds: Sequence[int] = (0,), device: torch.device = CPU
) -> Trainer:
    family, name = cell
    programs = make_family(params, family)
    train, val = (read_split(places.splits(family), programs, split).to(device) for split in ("train", "val"))
    learners = {seed: make(params, family, name, seed).to(device) for seed in seeds}
    section, training = params.learner(family, name), getattr(params.training, family)
    return Trainer(learners, section, training, train, val, Path("never"))


def state(made: Trainer) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in made.step.state().items()}


@pytest.mark.parametrize("seeds", [(3,), (3, 4, 5)], ids=str)
def test_each_step_sees_the_batch_and_the_rate_of_its_number(
    places: Places, monkeypatch: pytest.MonkeyPatch, seeds: tuple[int, ...]
) -> None:
    monkeypatch.setattr("pipeline.training.batches.CHUNK", 4)
    params = tiny({"training.addmod.meta_batch": 2})
    made = trainer(params, places, ("addmod", "meta_mlp"), seeds)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    losses = made.step.stack.losses
    monkeypatch.setattr(made.step.stack, "losses", lambda *batch: (seen.append(batch[:3]), losses(*batch))[1])
    split = read_split(places.splits("addmod"), make_family(params, "addmod"), "train")
    training, section = params.training.addmod, params.learner("addmod", "meta_mlp")
    for number in range(6, 12):  # from within a chunk on
        made.step(number)
        u, x, y = seen[-1]
        for i, seed in enumerate(seeds):
            intents, examples = (
                part[number % 4] for part in Batches(seed, split.counts.numpy(), 24, 2).chunk(number // 4)
            )
            assert torch.equal(u[i], made.u_train[intents])
            assert torch.equal(x[i], split.x[intents[:, None], examples].long())
            assert torch.equal(y[i], split.y[intents[:, None], examples].long())
        (group,) = made.step.optimizer.param_groups
        assert float(group["lr"]) == section.learning_rate * rate(number, training)


class NothingIsRead(TorchDispatchMode):
    """Fails at an operation that brings numbers from the device to the host, or whose shape depends on them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim"}, (
            name
        )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=str)
@pytest.mark.parametrize("family", ["sumfirst", "addmod", "arc1d"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_step_reads_nothing_back(
    params: Params, places: Places, name: str, family: str, seeds: tuple[int, ...]
) -> None:
    made = trainer(params, places, (family, name), seeds)
    made.step(0)
    with NothingIsRead():
        made.step(1)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_warm_up_leaves_no_trace(
    params: Params, places: Places, monkeypatch: pytest.MonkeyPatch, cell: tuple[str, str]
) -> None:
    calls = []

    def recorded(function: Callable[[], None], changed: Sequence[Tensor], device: torch.device) -> Callable[[], None]:
        """As on CUDA, but for the recording."""
        warm_up(function, changed)
        return lambda: (calls.append(1), function())[1]

    plain = trainer(params, places, cell, (0, 1))
    plain.run("plain", Hooks())
    monkeypatch.setattr(step, "captured", recorded)
    monkeypatch.setattr(machine, "captures", lambda device: True)
    warmed = trainer(params, places, cell, (0, 1))
    untouched = state(warmed)
    assert all(not value.any() for name, value in untouched.items() if not name.startswith("parameters."))
    warmed.run("warmed", Hooks())
    assert len(calls) == 12
    assert same_bits(state(warmed), state(plain))
    for seed, selection in plain.selections.items():
        assert same_bits(warmed.selections[seed].best, selection.best)


def test_a_warm_up_calls_a_few_times_and_puts_back() -> None:
    weight, count = torch.tensor([1.5, -2.0]), torch.zeros((), dtype=torch.int64)
    seen = []

    def function() -> None:
        seen.append(int(count))
        weight.mul_(0.3)
        count.add_(1)

    warm_up(function, [weight, count])
    assert seen == list(range(WARM_UPS))
    assert (weight.tolist(), int(count)) == ([1.5, -2.0], 0)


def test_graphs_are_of_cuda_and_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (machine.captures(CPU), machine.captures(CUDA)) == (False, True)
    monkeypatch.setenv("NEUROP_GRAPHS", "off")
    assert not machine.captures(CUDA)
    monkeypatch.setenv("NEUROP_GRAPHS", "some")
    with pytest.raises(UserError, match="NEUROP_GRAPHS is 'some'; give on or off"):
        machine.captures(CUDA)


@pytest.mark.skipif(WITHOUT_CUDA, reason="needs a GPU")
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_replayed_training_is_the_launched_one(
    places: Places, monkeypatch: pytest.MonkeyPatch, cell: tuple[str, str], seeds: tuple[int, ...]
) -> None:
    params = tiny({f"training.{cell[0]}.steps": 40, f"training.{cell[0]}.meta_batch": 2})
    replayed = trainer(params, places, cell, seeds, CUDA)
    replayed.run("replayed", Hooks())
    monkeypatch.setenv("NEUROP_GRAPHS", "off")
    launched = trainer(params, places, cell, seeds, CUDA)
    launched.run("launched", Hooks())
    assert same_bits(state(replayed), state(launched))


@pytest.mark.skipif(WITHOUT_CUDA, reason="needs a GPU")
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_gpu_trains_as_the_cpu_does(places: Places, cell: tuple[str, str]) -> None:
    params = tiny({f"training.{cell[0]}.steps": 20})
    ours, theirs = (trainer(params, places, cell, (0, 1), device) for device in (CUDA, CPU))
    for made in (ours, theirs):
        made.run("device", Hooks())
    for seed, selection in ours.selections.items():
        for mine, other in zip(selection.progress.history, theirs.selections[seed].progress.history, strict=True):
            assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3, nan_ok=True)
