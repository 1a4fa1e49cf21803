"""The MLP template against plain modules of `nn.Linear`, forward and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from pipeline.templates import Mlp, linear
from tests.helpers import random_theta
from tests.templates.plain import PlainMlp, assert_close, gradients

SIZES = [(10, 16, 1), (4, 1), (3, 5, 7, 2), (1, 1, 1)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_k_weight_sets_are_k_modules(sizes: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    template, k, n = Mlp(sizes), 5, 7
    theta, x = random_theta(template, k, dtype), torch.randn(k, n, sizes[0], dtype=dtype)
    batched = template.forward(theta, x)
    plain = PlainMlp(sizes).to(dtype)
    apart = torch.stack([functional_call(plain, plain.state(theta, i), (x[i],)) for i in range(k)])
    assert batched.shape == (k, n, sizes[-1])
    assert_close({"output": batched}, {"output": apart}, tolerance)
    assert_close(gradients(batched, theta), gradients(apart, theta), tolerance)


def test_a_known_mlp() -> None:
    theta = {
        "W_0": torch.tensor([[[1.0, -1.0], [2.0, 0.0]]]),
        "b_0": torch.tensor([[0.5, 3.0]]),
        "W_1": torch.tensor([[[2.0], [10.0]]]),
        "b_1": torch.tensor([[-1.0]]),
    }
    x = torch.tensor([[[1.0, 1.0], [5.0, -4.0]]])
    # hidden: relu(3.5, 2) and relu(-2.5, -2)
    assert Mlp((2, 2, 1)).forward(theta, x).tolist() == [[[26.0], [-1.0]]]


def test_weight_sets_do_not_mix() -> None:
    template = Mlp((3, 4, 2))
    theta, x = random_theta(template, 3), torch.randn(3, 5, 3)
    before = template.forward(theta, x).detach()
    with torch.no_grad():
        theta["W_0"][1] += 1
    after = template.forward(theta, x).detach()
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


def test_linear_is_one_product_for_each_weight_set() -> None:
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(2, 4, 5), torch.randn(2, 5)
    product = torch.einsum("kni,kio->kno", x, weight)
    torch.testing.assert_close(linear(x, weight), product)
    torch.testing.assert_close(linear(x, weight, bias), product + bias[:, None])


def test_inputs_have_coordinates_in_the_units_of_the_intent() -> None:
    template = Mlp((10, 16, 1), 4.5, 1.5)
    (inputs, hidden), (_, output) = template.tensors[0].axes, template.tensors[2].axes
    assert (inputs.size, inputs.origin, inputs.unit) == (10, 4.5, 1.5)
    assert hidden.unit is None
    assert output.unit is None
