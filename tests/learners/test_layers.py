"""Layers: positional codes against their formulas, the group-tied MLP against the plain concatenation."""

from __future__ import annotations

import math

import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.learners.layers import ACTIVATIONS, BandLimit, SlotMlp, axis_code, low_pass, mlp, slot_codes
from pipeline.learners.scale import waves
from pipeline.params import FAMILIES, MetaMlp, Params
from pipeline.templates import Axis, make_template

ORDERED, UNORDERED = Axis("input", 6, 2.5, 1.5), Axis("hidden", 5)
TOKENS = Axis("token_in", 97, 0.0, 100.0)


def settings(bandwidth: int | None, scale: str = "linear") -> MetaMlp:
    given = {"budget": None, "activation": "silu", "learning_rate": 1e-3, "weight_decay": 0.0, "spread": 0.3}
    return MetaMlp.model_validate(given | {"hidden": [8], "bandwidth": bandwidth, "scale": scale})


def test_an_ordered_axis_has_its_coordinate_in_the_units_of_the_intent() -> None:
    code = axis_code(ORDERED, 3, 0)
    assert code.shape == (6, 1)
    assert code[:, 0].tolist() == pytest.approx([(i - 2.5) / 1.5 for i in range(6)])


@pytest.mark.parametrize(
    ("axis", "fourier", "ordered", "pairs"),
    [(ORDERED, 0, 2, 2), (ORDERED, 9, 9, 3), (UNORDERED, 1, 9, 1), (UNORDERED, 9, 0, 2)],
)
def test_pairs_are_cosine_and_sine_of_whole_turns(axis: Axis, fourier: int, ordered: int, pairs: int) -> None:
    code = axis_code(axis, fourier, ordered)
    first = 0 if axis.unit is None else 1
    assert code.shape == (axis.size, first + 2 * pairs)
    for i in range(axis.size):
        for j in range(pairs):
            turn = 2 * math.pi * (j + 1) * i / axis.size
            assert code[i, first + 2 * j : first + 2 * j + 2].tolist() == pytest.approx(
                [math.cos(turn), math.sin(turn)], abs=1e-6
            )


def test_an_axis_without_code_has_width_zero() -> None:
    assert axis_code(UNORDERED, 0, 3).shape == (5, 0)
    assert axis_code(Axis("output", 1), 8, 8).shape == (1, 0)


def test_the_code_of_a_slot_is_the_codes_of_its_axes() -> None:
    axes = (UNORDERED, ORDERED, Axis("d_head", 2))
    codes, (a, b, c) = slot_codes(axes, 2, 1), (axis_code(axis, 2, 1) for axis in axes)
    slots = [torch.cat([a[i], b[j], c[k]]) for i in range(5) for j in range(6) for k in range(2)]
    assert torch.equal(codes, torch.stack(slots))


def test_a_band_limit_cuts_the_spectrum_of_ordered_axes_alone() -> None:
    axes = (UNORDERED, Axis("token", 12, 0.0, 3.0), Axis("d_head", 2))
    values = torch.randn(5 * 12 * 2, 3, dtype=torch.float64)
    limited = BandLimit(axes, settings(4), True).double()(values).unflatten(0, (5, 12, 2))
    # The low-pass matrix is made in float32.
    spectra = (scipy.fft.dct(v.numpy(), axis=1) for v in (values.unflatten(0, (5, 12, 2)), limited))
    before, after = spectra
    assert after[:, :4] == pytest.approx(before[:, :4] * 3**0.5, abs=1e-5)
    assert after[:, 4:] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("axes", "count"), [((UNORDERED, ORDERED), None), ((UNORDERED, ORDERED), 6), ((UNORDERED,), 1)]
)
def test_without_a_limit_or_an_order_nothing_is_cut(axes: tuple[Axis, ...], count: int | None) -> None:
    limit, values = BandLimit(axes, settings(count), True), torch.randn(math.prod(axis.size for axis in axes), 2)
    assert limit(values) is values
    assert not list(limit.buffers())


def test_a_band_limit_keeps_the_spread_of_white_noise() -> None:
    passed = low_pass(waves(TOKENS, 12, "linear"), "linear", True)
    assert float((passed**2).sum()) == pytest.approx(97, rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_of_a_tensor_have_codes_of_their_own(params: Params, family: str) -> None:
    for tensor in make_template(params, family).tensors:
        codes = slot_codes(tensor.axes, 8, 0)
        assert len(codes) == tensor.n_slots
        assert len({tuple(code) for code in codes.mul(1e4).round().tolist()}) == tensor.n_slots


def test_layers_of_an_mlp() -> None:
    network = mlp([3, 7, 5, 2], "silu")
    assert [type(layer) for layer in network] == [nn.Linear, nn.SiLU, nn.Linear, nn.SiLU, nn.Linear]
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [7, 5, 2]
    assert len(mlp([3, 2], "relu")) == 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [[4, 1], [7, 5, 3]], ids=str)
def test_group_tied_mlp_is_the_mlp_of_the_concatenation(activation: str, sizes: list[int]) -> None:
    u, codes = torch.randn(3, 2), torch.randn(11, 5)
    module = SlotMlp(2, codes, None, sizes, activation)
    out = module(u)
    act = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu, "softplus": F.softplus, "tanh": torch.tanh}[activation]
    linears = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linears] == sizes
    for k in range(3):
        for t in range(11):
            h = torch.cat([u[k], codes[t]])
            for layer in linears[:-1]:
                h = act(layer.weight @ h + layer.bias)
            h = linears[-1].weight @ h + linears[-1].bias
            torch.testing.assert_close(out[k, t], h, rtol=1e-5, atol=1e-6)
    assert out.shape == (3, 11, sizes[-1])
    assert torch.equal(module.state_dict()["codes"], codes)
    assert not codes.requires_grad
