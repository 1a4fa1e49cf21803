"""Many MLPs as a few products: the same as one after the other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from pipeline.learners import tiled
from pipeline.learners.layers import mlp
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.learners.tiled import Places, TiledMlps
from pipeline.params import Params
from tests.graph.modules import CASES
from tests.learners.test_meta_gnn import codes, learner
from tests.learners.test_own_network import INTENTS
from tests.learners.test_own_network import learner as own_learner


def networks(sizes: list[tuple[int, int]], width: int) -> nn.ModuleList:
    """MLPs with these numbers of inputs and outputs."""
    return nn.ModuleList(mlp([d_in, width, d_out], "silu") for d_in, d_out in sizes).double()


def one_by_one(made: nn.ModuleList, groups: list[tuple[int, int]], rows: Tensor) -> list[Tensor]:
    parts = rows.split([n for _, n in groups])
    return [made[which](part[:, : made[which][0].in_features]) for (which, _), part in zip(groups, parts, strict=True)]


def assert_the_same_at_once(gnn: MetaGnn, u: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """θ and all gradients, with encoders and decoders together and one after the other."""
    found = []
    for at_once in (True, False):
        monkeypatch.setattr(MetaGnn, "_at_once", lambda self, tensor, at_once=at_once: at_once)
        gnn.zero_grad()
        slots = gnn.slots(u)
        slots.square().sum().backward()
        found.append((slots, [p.grad for p in gnn.parameters() if p.grad is not None and p.numel()]))
    torch.testing.assert_close(*found)


@given(st.data())
def test_each_group_gets_what_its_mlp_makes_of_it(data: st.DataObject) -> None:
    size = st.integers(1, 5)
    sizes = data.draw(st.lists(st.tuples(st.integers(0, 4), size), min_size=1, max_size=4))
    which = st.integers(0, len(sizes) - 1)
    groups = data.draw(st.lists(st.tuples(which, st.integers(1, 9)), min_size=1, max_size=5))
    made = networks(sizes, data.draw(size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "TILE", data.draw(st.integers(1, 12)))
        together = TiledMlps(made, groups).double()
        rows = torch.randn(sum(n for _, n in groups), max(d for d, _ in sizes), dtype=torch.float64, requires_grad=True)
        out = together(made, rows)
    expected = one_by_one(made, groups, rows)
    found = [part[:, : right.shape[1]] for part, right in zip(out.split([n for _, n in groups]), expected, strict=True)]
    torch.testing.assert_close(found, expected)
    pulls = [torch.randn_like(right) for right in expected]
    inputs = [rows, *made.parameters()]
    ours = torch.autograd.grad(found, inputs, pulls, materialize_grads=True)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, inputs, pulls, materialize_grads=True))


def test_a_pack_is_each_alone() -> None:
    groups, packs = [(1, 5), (0, 200), (1, 130)], [networks([(3, 2), (2, 4)], 6) for _ in range(3)]
    together, rows = TiledMlps(packs[0], groups).double(), torch.randn(3, 335, 3, dtype=torch.float64)
    stacked, _ = stack_module_state(packs)

    class Call(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made = packs[0]

        def forward(self, x: Tensor) -> Tensor:
            return together(self.made, x)

    def run(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(Call(), {f"made.{name}": value for name, value in parameters.items()}, (x,))

    out = vmap(run)(stacked, rows)
    torch.testing.assert_close(out, torch.stack([together(*pair) for pair in zip(packs, rows, strict=True)]))
    out.square().sum().backward()
    for i, made in enumerate(packs):
        together(made, rows[i]).square().sum().backward()
        for name, parameter in made.named_parameters():
            torch.testing.assert_close(stacked[name].grad[i], parameter.grad)


def test_places_are_filled_once_and_emptied_again() -> None:
    places = Places(torch.tensor([4, 0, 2]), 6)
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    spread = places.spread(rows)
    assert spread.tolist() == [[3, 4], [0, 0], [5, 6], [0, 0], [1, 2], [0, 0]]
    assert torch.equal(places.collect(spread), rows)
    (pulled,) = torch.autograd.grad(spread, rows, torch.arange(12.0).view(6, 2))
    assert pulled.tolist() == [[8, 9], [0, 1], [4, 5]]
    assert torch.autograd.gradcheck(places.double().collect, torch.randn(6, 2, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("family", ["sumfirst", "addmod", "arc1d"])
@pytest.mark.parametrize("changes", [{}, {"init_mode": "per_group"}, {"init_mode": "global", "intent_rank": 1}])
def test_meta_gnn_writes_the_same(
    params: Params, monkeypatch: pytest.MonkeyPatch, family: str, changes: dict[str, object]
) -> None:
    gnn, u = learner(params, family, **changes), codes(params, family, torch.float64)
    assert_the_same_at_once(gnn, u, monkeypatch)


def test_a_pack_of_meta_gnns(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    learners, u = [learner(params, "addmod") for _ in range(2)], codes(params, "addmod", torch.float64)
    stacked, buffers = stack_module_state(learners)
    # As training does: what is the same in all learners is not stacked.
    buffers = {name: stack for name, stack in buffers.items() if not name.startswith("code_")}

    class Slots(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gnn = learners[0]

        def forward(self) -> Tensor:
            return self.gnn.slots(u)

    def run(tensors: dict[str, Tensor]) -> Tensor:
        # Both directions share one module, which `tie_weights` would leave changed.
        return functional_call(Slots(), {f"gnn.{k}": v for k, v in tensors.items()}, (), tie_weights=False)

    expected = torch.stack([each.slots(u) for each in learners])
    expected.square().sum().backward()
    monkeypatch.setattr(MetaGnn, "_at_once", lambda self, tensor: True)
    slots = vmap(run)(stacked | buffers)
    torch.testing.assert_close(slots, expected)
    slots.square().sum().backward()
    for i, each in enumerate(learners):
        for name, parameter in each.named_parameters():
            if parameter.grad is not None and parameter.numel():
                torch.testing.assert_close(stacked[name].grad[i], parameter.grad, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("network", CASES)
def test_a_network_of_the_users_own(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several numbers on an edge, biases and tensors that groups and blocks share."""
    gnn, u = own_learner(network, intent_rank=3).double(), torch.randn(2, INTENTS.shape[1], dtype=torch.float64)
    assert_the_same_at_once(gnn, u, monkeypatch)
