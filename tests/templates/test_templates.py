"""What all templates share: the paper's counts, specs that travel, flat slots, weights that do not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.params import FAMILIES, Params
from pipeline.templates import Mlp, Template, from_spec, make_template
from tests.helpers import paper, random_theta

COUNTS = {"sumfirst": 193, "addmod": 6048, "arc1d": 17568}
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "sumfirst": {"W_0": (10, 16), "b_0": (16,), "W_1": (16, 1), "b_1": (1,)},
    "addmod": {
        "W_E": (97, 16),
        **{f"W_{letter}": (2, 16, 8) for letter in "QKV"},
        **{f"b_{letter}": (2, 8) for letter in "QKV"},
        "W_in": (16, 64),
        "b_in": (64,),
        "W_out": (64, 16),
        "b_out": (16,),
        "W_U": (16, 97),
    },
    "arc1d": {
        "W_E": (10, 32),
        "W_pos": (140, 32),
        **{f"W_{letter}": (2, 32, 16) for letter in "QKV"},
        "W_O": (2, 16, 32),
        "W_in": (32, 128),
        "b_in": (128,),
        "W_out": (128, 32),
        "b_out": (32,),
        "W_U": (32, 10),
    },
}


@pytest.fixture(params=FAMILIES)
def template(request: pytest.FixtureRequest, params: Params) -> Template:
    made: Template = make_template(params, request.param)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_the_papers_weights_to_the_slot(family: str) -> None:
    template = make_template(paper(), family)
    assert {tensor.name: tensor.shape for tensor in template.tensors} == SHAPES[family]
    assert template.n_slots == sum(tensor.n_slots for tensor in template.tensors) == COUNTS[family]


def test_slots_and_tensors_are_two_views(template: Template) -> None:
    flat = torch.randn(3, template.n_slots)
    theta = template.split(flat)
    assert {name: tuple(value.shape) for name, value in theta.items()} == {
        t.name: (3, *t.shape) for t in template.tensors
    }
    assert torch.equal(template.flatten(theta), flat)
    assert torch.equal(template.split(flat[0])[template.tensors[-1].name], theta[template.tensors[-1].name][0])


def test_initial_weights_have_the_usual_spread_and_are_seeded(template: Template) -> None:
    draws = torch.stack([template.initial(torch.Generator().manual_seed(seed)) for seed in range(200)])
    again = template.initial(torch.Generator().manual_seed(7))
    assert torch.equal(draws[7], again)
    for tensor, piece in zip(template.tensors, template.split(draws).values(), strict=True):
        error = (2 * piece.numel()) ** -0.5  # standard error of a relative spread
        assert abs(float(piece.std()) / tensor.std - 1) < 4 * error
        assert abs(float(piece.mean())) < 4 * tensor.std * piece.numel() ** -0.5


def test_usual_spread_is_one_over_the_root_of_fan_in() -> None:
    spreads = {tensor.name: tensor.std for tensor in make_template(paper(), "addmod").tensors}
    assert spreads == {**dict.fromkeys(spreads, 0.25), "W_E": 0.5, "W_out": 0.125, "b_out": 0.125}
    assert [tensor.std for tensor in Mlp((4, 9, 1)).tensors] == pytest.approx([0.5, 0.5, 1 / 3, 1 / 3])


def test_only_axes_with_order_have_a_unit(template: Template) -> None:
    ordered = {axis.name for tensor in template.tensors for axis in tensor.axes if axis.unit is not None}
    assert ordered <= {"input", "token_in", "token_out", "position"}
    assert ordered


@pytest.mark.parametrize("family", FAMILIES)
def test_spec_travels(family: str) -> None:
    template = make_template(paper(), family)
    again = from_spec(json.loads(json.dumps(template.spec())))
    assert type(again) is type(template)
    assert again.spec() == template.spec()
    assert again.tensors == template.tensors


@pytest.mark.parametrize(
    "spec",
    [
        {},
        [],
        None,
        "mlp",
        {"kind": "cnn", "sizes": [1, 2]},
        {"kind": "mlp"},
        {"kind": "mlp", "sizes": 3},
        {"kind": "mlp", "sizes": []},
        {"kind": "mlp", "sizes": ["a", "b"]},
        {"kind": "mlp", "sizes": [2, 1], "colour": 1},
        {"kind": "transformer", "d_vocab": 3},
        {**make_template(paper(), "addmod").spec(), "n_heads": 0},
        {**make_template(paper(), "addmod").spec(), "d_model": "16"},
    ],
    ids=str,
)
def test_what_is_no_spec_is_refused(spec: Any) -> None:
    with pytest.raises(UserError, match=r"^some/template.json does not describe a template"):
        from_spec(spec, "some/template.json")


def test_fitting_weights_pass_the_check(template: Template) -> None:
    theta = random_theta(template, 2)
    template.check(theta, "weights")
    assert set(theta) == {tensor.name for tensor in template.tensors}


def test_other_weights_are_refused(template: Template) -> None:
    theta, last = random_theta(template, 2), template.tensors[-1]
    lacking = {name: value for name, value in theta.items() if name != last.name}
    with pytest.raises(UserError, match=rf"^w.safetensors: tensor {last.name} is missing"):
        template.check(lacking, "w.safetensors")
    with pytest.raises(UserError, match=rf"^w.safetensors: {last.name} has shape .* but the template needs"):
        template.check({**theta, last.name: theta[last.name].unsqueeze(-1)}, "w.safetensors")
    with pytest.raises(UserError, match=r"^w.safetensors: W_extra is not a tensor of the template"):
        template.check({**theta, "W_extra": torch.zeros(2, 1)}, "w.safetensors")
