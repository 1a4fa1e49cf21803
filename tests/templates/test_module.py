"""A user's network as a template: K weight sets at once give what each gives alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.errors import UserError
from pipeline.templates import ModuleTemplate
from tests.graph.modules import CASES

K = 3


def batches(x: Tensor) -> Tensor:
    many = torch.stack([x.roll(i, 0) for i in range(K)])
    return many.double() if x.is_floating_point() else many


@pytest.mark.parametrize("name", CASES)
def test_all_weight_sets_at_once_give_what_a_loop_gives(name: str) -> None:
    module, example = CASES[name]()
    template, x = ModuleTemplate(module, *example), [batches(t) for t in example]
    theta = template.split(torch.randn(K, template.n_slots, dtype=torch.float64) * 0.5)
    module.double()
    alone = [functional_call(module, {n: t[k] for n, t in theta.items()}, tuple(t[k] for t in x)) for k in range(K)]
    alone = [out[0] if isinstance(out, tuple) else out for out in alone]
    torch.testing.assert_close(template.forward(theta, *x), torch.stack(alone), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_initial_weights_are_the_modules_own(name: str) -> None:
    module, example = CASES[name]()
    template = ModuleTemplate(module, *example)
    theta = template.split(template.initial(torch.Generator())[None])
    for tensor, (name, parameter) in zip(template.tensors, module.named_parameters(), strict=True):
        assert (tensor.name, tensor.shape) == (name, tuple(parameter.shape))
        assert torch.equal(theta[name][0], parameter)


def test_spreads_follow_the_fan_in() -> None:
    layers = [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(12, 4)]
    stds = {tensor.name: tensor.std for tensor in ModuleTemplate(nn.Sequential(*layers)).tensors}
    assert stds["0.weight"] == stds["0.bias"] == 18**-0.5
    assert stds["3.weight"] == stds["3.bias"] == 12**-0.5
    assert stds["1.weight"] == stds["1.bias"] == 0.5
    attention = {tensor.name: tensor.std for tensor in ModuleTemplate(nn.MultiheadAttention(4, 2)).tensors}
    assert set(attention.values()) == {0.5} and len(attention) == 4
    assert ModuleTemplate(nn.Embedding(9, 3)).tensors[0].std == 0.5


def test_dropout_drops_other_neurons_for_each_weight_set_in_training_only() -> None:
    module, x = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5)), torch.randn(1, 4, 3).expand(2, 4, 3)
    template = ModuleTemplate(module)
    theta = template.split(template.initial(torch.Generator()).expand(2, -1))
    one, other = template.forward(theta, x)
    assert not torch.equal(one, other)
    module.eval()
    one, other = template.forward(theta, x)
    assert torch.equal(one, other)


def test_the_fused_attention_kernels_are_as_they_were_afterwards() -> None:
    module, x = CASES["encoder stack"]()
    template, before = ModuleTemplate(module.eval(), *x), torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        template.forward(template.split(template.initial(torch.Generator())[None]), x[0][None])
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_a_module_is_no_json() -> None:
    with pytest.raises(UserError, match="Linear: a network of your own cannot be stored"):
        ModuleTemplate(nn.Linear(2, 2)).spec()
