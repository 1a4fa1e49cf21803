"""The state of θ: effective rank and spread against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pipeline.learners import MetaLearner
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.templates import Mlp
from pipeline.training.diagnostics import effective_rank, theta_state
from tests.helpers import codes, make, tiny


@pytest.mark.parametrize("n", [1, 2, 7])
def test_rank_of_an_identity_is_its_size(n: int) -> None:
    assert float(effective_rank(torch.eye(n, dtype=torch.float64) * 3)) == pytest.approx(n)


def test_rank_of_a_product_of_vectors_is_one() -> None:
    matrices = torch.randn(4, 5, 1, dtype=torch.float64) @ torch.randn(4, 1, 9, dtype=torch.float64)
    assert effective_rank(matrices).tolist() == pytest.approx([1] * 4)


def test_rank_between_is_the_exponential_of_the_entropy() -> None:
    share = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0] for _ in range(2))
    matrix = left @ share.sqrt().diag() @ right
    assert float(effective_rank(matrix)) == pytest.approx(2**1.5)  # entropy 1.5 bits
    assert float(effective_rank(matrix[:, :2].T)) <= 2


def test_rank_of_zeros_is_finite() -> None:
    assert math.isfinite(float(effective_rank(torch.zeros(3, 4, dtype=torch.float64))))


class Constant(MetaLearner):
    """θ = u · base."""

    def __init__(self, base: Tensor) -> None:
        super().__init__(None, Mlp((2, 2, 1)), tiny().learners.sumfirst.meta_mlp)
        self.base = base

    def slots_of(self, u: Tensor) -> Tensor:
        return u * self.base

    def heads(self):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_state_is_the_mean_over_intents() -> None:
    base = torch.tensor([1.0, 0.0, 0.0, 1.0, 3.0, -3.0, 4.0, 2.0, 9.0])  # W_0, b_0, W_1, b_1
    state = theta_state(Constant(base), torch.tensor([[1.0], [3.0]]))
    expected = {"std.W_0": 0.5, "rank.W_0": 2, "std.b_0": 3, "std.W_1": 1, "rank.W_1": 1, "std.b_1": 0}
    assert state == pytest.approx({**expected, "std.W_0": 1.0, "std.b_0": 6, "std.W_1": 2})


def test_state_of_a_direct_learner_is_empty(params: Params) -> None:
    assert theta_state(make(params, "addmod", "direct_mlp"), codes(make_family(params, "addmod"))) == {}
