"""Precision of products and clipping of gradients: what they change, what they leave, and that packs agree."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from pipeline.params import Params
from pipeline.training import precision
from pipeline.training.run import Places
from tests.helpers import same_bits, tiny
from tests.training.test_loop import CELLS
from tests.training.test_step import state, trainer

BACKENDS = (torch.backends.cuda.matmul, torch.backends.cudnn)


def stepped(places: Places, cell: tuple[str, str], params: Params, seeds: Sequence[int] = (0,)) -> dict[str, Tensor]:
    """The state after one step: exp_avg is a tenth of the gradient."""
    made = trainer(params, places, cell, seeds)
    made.step(0)
    return state(made)


def gradient(found: dict[str, Tensor]) -> Tensor:
    """All gradients of one step [S, parameters], of a single learner [1, parameters]."""
    parts = [value for name, value in found.items() if name.startswith("exp_avg.")]
    return torch.cat([part.flatten() for part in parts])


def rounding(places: Places, cell: tuple[str, str], changes: dict[str, object], seeds: Sequence[int] = (0,)) -> float:
    """How far bfloat16 moves the gradient of the first step, as a share of its length."""
    whole = stepped(places, cell, tiny(changes), seeds)
    rounded = stepped(places, cell, tiny({**changes, f"training.{cell[0]}.precision": "bfloat16"}), seeds)
    assert all(value.dtype in (torch.float32, torch.float64) for value in rounded.values())
    return float((gradient(rounded) - gradient(whole)).norm() / gradient(whole).norm())


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=["alone", "pack"])
def test_bfloat16_rounds_products_and_nothing_else(
    places: Places, cell: tuple[str, str], seeds: tuple[int, ...]
) -> None:
    assert 0 < rounding(places, cell, {}, seeds) < 0.1  # 8 bits; a lost or doubled gradient is off by 1


@pytest.mark.parametrize("learner", ["meta_mlp", "meta_gmlp", "meta_gmlp_mx", "meta_gnn"])
def test_bfloat16_goes_with_a_bandwidth(places: Places, learner: str) -> None:
    assert 0 < rounding(places, ("addmod", learner), {f"learners.addmod.{learner}.bandwidth": 3}) < 0.1


def test_tf32_changes_nothing_on_a_cpu(places: Places) -> None:
    whole = stepped(places, ("addmod", "meta_gnn"), tiny())
    assert same_bits(whole, stepped(places, ("addmod", "meta_gnn"), tiny({"training.addmod.precision": "tf32"})))


@pytest.mark.parametrize(("name", "allowed"), [("float32", False), ("tf32", True), ("bfloat16", True)])
def test_cuda_rounds_to_tf32_within_a_step_alone(name: str, allowed: bool) -> None:
    before = [backend.allow_tf32 for backend in BACKENDS]
    with precision.products(name):
        assert [backend.allow_tf32 for backend in BACKENDS] == [allowed] * 2
    assert [backend.allow_tf32 for backend in BACKENDS] == before


@pytest.mark.parametrize("share", [0.5, 2.0], ids=["longer", "shorter"])
def test_a_gradient_is_shortened_as_torch_does_it(places: Places, share: float) -> None:
    cell = ("arc1d", "meta_gnn")
    made = trainer(tiny(), places, cell)
    norm = float(gradient(stepped(places, cell, tiny())).norm()) * 10
    made.step.section = made.step.section.model_copy(update={"gradient_clip": share * norm})
    made.step(0)
    ours = {name: p.grad for name, p in made.step.stack.parameters.items()}
    plain = trainer(tiny(), places, cell)
    plain.step(0)
    parameters = list(plain.step.stack.parameters.values())
    nn.utils.clip_grad_norm_(parameters, share * norm)
    for parameter, mine in zip(parameters, ours.values(), strict=True):
        torch.testing.assert_close(mine, parameter.grad)


def test_each_seed_of_a_pack_is_shortened_by_itself(places: Places) -> None:
    cell, clip = ("addmod", "meta_mlp"), {"learners.addmod.meta_mlp.gradient_clip": 0.05}
    together = stepped(places, cell, tiny(clip), (0, 1))
    for i, seed in enumerate((0, 1)):
        alone = stepped(places, cell, tiny(clip), (seed,))
        assert float(gradient(alone).norm()) == pytest.approx(0.005, rel=1e-4)  # so it was shortened
        for name, value in alone.items():
            if name.startswith("exp_avg."):
                torch.testing.assert_close(together[name][i], value, rtol=1e-4, atol=1e-7)
