"""The loop: equal to a plain one, reproducible, resumed to the same bits wherever it was stopped, selected by val."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.params import LEARNERS, Params, TrainingSection
from pipeline.programs import make_family
from pipeline.programs.tables import read_split
from pipeline.training import batches, loop
from pipeline.training.loop import Hooks, Interrupted, Trainer
from pipeline.training.run import Places
from pipeline.training.schedule import rate
from pipeline.training.selection import Row, Selection
from tests.helpers import make, same_bits, tiny

STEPS = 12
CELLS = [(("sumfirst", "addmod", "arc1d")[i % 3], learner) for i, learner in enumerate(LEARNERS)]


def trainer(
    params: Params, places: Places, scratch: str, family: str = "sumfirst", learner: str = "meta_mlp", seed: int = 0
) -> Trainer:
    train, val = (read_split(places.splits(family), make_family(params, family), split) for split in ("train", "val"))
    section, training = params.learner(family, learner), getattr(params.training, family)
    learners = {seed: make(params, family, learner, seed)}
    return Trainer(learners, section, training, train, val, places.root / scratch)


def only(made: Trainer) -> Selection:
    """What a trainer of a single seed has reached."""
    (selection,) = made.selections.values()
    return selection


def outcome(made: Trainer) -> dict[str, Any]:
    """All that a run leaves: last and best weights, and the rest as text (NaN equals NaN)."""
    reached = only(made)
    return {"last": reached.last, "best": reached.best, "progress": json.dumps(vars(reached.progress))}


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return (
        same_bits(left["last"], right["last"])
        and same_bits(left["best"], right["best"])
        and left["progress"] == right["progress"]
    )


def stop_after(steps: int) -> Callable[[], bool]:
    """A stop signal that comes after so many more steps (the loop asks once a step)."""
    calls = iter(range(1, 10**9))
    return lambda: next(calls) >= steps


def straight(params: Params, places: Places, *cell: Any) -> dict[str, Any]:
    made = trainer(params, places, "straight", *cell)
    made.run("straight", Hooks())
    assert not made.path.exists()
    return outcome(made)


def in_pieces(params: Params, places: Places, pieces: list[int], *cell: Any) -> dict[str, Any]:
    """Stopped after these numbers of steps, each time continued by a fresh trainer."""
    for piece in pieces:
        made = trainer(params, places, "pieces", *cell)
        before = made.number
        with pytest.raises(Interrupted, match=f"stopped at step {before + piece}; run the same command again"):
            made.run("pieces", Hooks(stop=stop_after(piece)))
    made = trainer(params, places, "pieces", *cell)
    assert made.number == sum(pieces)
    made.run("pieces", Hooks())
    return outcome(made)


@pytest.mark.parametrize("pieces", [[1], [4], [5], [6], [11], [12], [1] * 12, [3, 4, 5]], ids=str)
def test_a_stopped_run_ends_in_the_same_bits(
    params: Params, places: Places, monkeypatch: pytest.MonkeyPatch, pieces: list[int]
) -> None:
    monkeypatch.setattr(batches, "CHUNK", 4)  # so that pieces end within, at and beyond a chunk
    assert same(in_pieces(params, places, pieces), straight(params, places))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_learner_resumes_to_the_same_bits(places: Places, cell: tuple[str, str]) -> None:
    family, learner = cell
    changes = {f"training.{family}.meta_batch": 2, f"learners.{family}.{learner}.weight_decay": 0.1}
    params = tiny({**changes, f"training.{family}.steps": 8})
    assert same(in_pieces(params, places, [3, 4], *cell), straight(params, places, *cell))


def test_a_killed_run_resumes_from_its_last_checkpoint(
    params: Params, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)  # after every step

    def fail(seed: int, row: Row) -> None:
        if row["step"] == 10:
            raise MemoryError

    with pytest.raises(MemoryError):
        trainer(params, places, "killed").run("killed", Hooks(on_row=fail))
    made = trainer(params, places, "killed")
    assert made.number == 9
    made.run("killed", Hooks())
    assert made.path.exists()
    monkeypatch.undo()
    assert same(outcome(made), straight(params, places))
    made.finish()
    assert not made.path.exists()


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(params: Params, places: Places) -> None:
    first = straight(params, places)
    torch.rand(7)
    again, other = straight(params, places), straight(params, places, "sumfirst", "meta_mlp", 1)
    assert same(first, again)
    assert not same_bits(first["last"], other["last"])
    assert first["progress"] != other["progress"]


@pytest.mark.parametrize("family", ["sumfirst", "addmod"])
def test_training_is_adam_on_the_batches_of_the_seed(places: Places, family: str) -> None:
    changes = {f"training.{family}.meta_batch": 2, f"learners.{family}.meta_mlp.weight_decay": 0.3}
    params = tiny({**changes, f"training.{family}.steps": 5})
    made = trainer(params, places, "straight", family, "meta_mlp", 4)
    learner, program = make(params, family, "meta_mlp", 4), make_family(params, family)
    u = torch.from_numpy(program.codes(program.intents("train")))
    learner.calibrate(u, batches.torch_generator(4, batches.INITIAL_THETA))
    assert same_bits(learner.state_dict(), only(made).last)

    section, split = params.learner(family, "meta_mlp"), read_split(places.splits(family), program, "train")
    intents, examples = batches.Batches(4, split.counts.numpy(), 24, 2).chunk(0)
    moments: dict[str, tuple[Tensor, Tensor]] = {
        name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in learner.named_parameters()
    }
    for step in range(5):
        k, i = intents[step], examples[step]
        x, y = (torch.stack([part[a, b] for a, b in zip(k, i, strict=True)]).long() for part in (split.x, split.y))
        learner.zero_grad()
        torch.stack(
            [program.loss(learner(u[a : a + 1], x[[j]], y[[j]]), y[[j]]) for j, a in enumerate(k)]
        ).mean().backward()
        rate_ = section.learning_rate * rate(step, getattr(params.training, family))
        for name, value in learner.named_parameters():
            assert value.grad is not None
            m = moments[name][0] * 0.9 + value.grad * 0.1
            v = moments[name][1] * 0.999 + value.grad**2 * 0.001
            moments[name] = (m, v)
            m, v = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            with torch.no_grad():
                value.mul_(1 - rate_ * 0.3).sub_(rate_ * m / (v.sqrt() + 1e-8))
    made.run("straight", Hooks())
    for name, value in learner.named_parameters():
        torch.testing.assert_close(only(made).last[name], value.detach(), rtol=1e-3, atol=2e-5)


def test_training_learns(places: Places) -> None:
    params = tiny({"training.sumfirst.steps": 200, "training.sumfirst.eval_every": 50, "training.sumfirst.warmup": 0})
    made = trainer(params, places, "straight")
    made.run("straight", Hooks())
    losses = [row["loss"] for row in only(made).progress.history]
    assert [row["step"] for row in only(made).progress.history] == [0, 50, 100, 150, 200]
    assert losses[-1] < 0.5 * losses[1]


def test_rows_hold_rate_loss_and_the_state_of_theta(params: Params, places: Places) -> None:
    seen: list[Row] = []
    made = trainer(params, places, "straight")
    made.run("straight", Hooks(on_row=lambda seed, row: seen.append(row)))
    assert seen == only(made).progress.history or json.dumps(seen) == json.dumps(only(made).progress.history)
    assert [row["step"] for row in seen] == [0, 5, 10, 12]
    assert math.isnan(seen[0]["loss"])
    assert all(math.isfinite(row["loss"]) for row in seen[1:])
    names = {"step", "loss", "val_accuracy", "val_loss", "learning_rate"}
    theta = {"std.W_0", "std.b_0", "std.W_1", "std.b_1", "rank.W_0", "rank.W_1"}
    assert all(set(row) == names | theta for row in seen)
    expected = [rate(int(row["step"]), params.training.sumfirst) for row in seen]
    learning_rate = params.learner("sumfirst", "meta_mlp").learning_rate
    assert [row["learning_rate"] / learning_rate for row in seen] == pytest.approx(expected)


def test_a_damaged_checkpoint_is_refused(params: Params, places: Places) -> None:
    with pytest.raises(Interrupted):
        trainer(params, places, "damaged").run("damaged", Hooks(stop=stop_after(3)))
    path = places.root / "damaged" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"checkpoint .* cannot be read .*; delete it"):
        trainer(params, places, "damaged")


def section(**changes: Any) -> TrainingSection:
    return tiny().training.addmod.model_copy(update=changes)


def test_constant_rate_after_warm_up() -> None:
    training = section(schedule="constant", warmup=4, steps=100)
    assert [rate(step, training) for step in (0, 1, 2, 3, 4, 50, 100)] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert rate(0, section(schedule="constant", warmup=0)) == 1


def test_cosine_rate_falls_from_one_to_zero() -> None:
    training = section(schedule="cosine", warmup=20, steps=120)
    at = {20: 1.0, 45: 0.5 + 2**-1.5, 70: 0.5, 95: 0.5 - 2**-1.5, 120: 0.0}
    assert {step: rate(step, training) for step in at} == pytest.approx(at, abs=1e-12)
    assert [rate(step, training) for step in (0, 9, 19)] == [0.05, 0.5, 1]
    rates = [rate(step, training) for step in range(20, 121)]
    assert rates == sorted(rates, reverse=True)


def test_warm_up_as_long_as_training() -> None:
    training = section(schedule="cosine", warmup=10, steps=10)
    assert [rate(step, training) for step in (0, 9)] == [0.1, 1]
    assert rate(10, training) == 1
