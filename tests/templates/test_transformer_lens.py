"""The Transformer template against TransformerLens: names, layouts, logits and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.templates import Theta, Transformer, make_template
from tests.helpers import paper, random_theta
from tests.templates.plain import assert_close, gradients

# Where TransformerLens's small model keeps each tensor.
PATHS = {"W_E": "tok_embed", "W_pos": "pos", "W_U": "head", "W_in": "fc_in", "W_out": "fc_out"}
PATHS |= {f"{kind}_{letter}": f"attn.{letter.lower()}" for kind in "Wb" for letter in "QKVO"}
PATHS |= {"b_in": "fc_in", "b_out": "fc_out"}


def peer(template: Transformer) -> Any:
    """TransformerLens's own small model of the same sizes; nothing is fetched."""
    import transformer_lens as lens  # here, because it takes seconds
    from transformer_lens.model_bridge.sources import native

    c = template.config
    config = lens.TransformerBridgeConfig(
        d_model=c.d_model,
        d_head=template.d_head,
        n_layers=1,
        n_ctx=c.n_ctx,
        n_heads=c.n_heads,
        d_vocab=c.d_vocab,
        d_mlp=c.d_mlp,
        act_fn="relu",
        normalization_type=None,
        seed=0,
    )
    return native.boot(config)


def parameter(model: Any, name: str) -> Tensor:
    """The parameter of TransformerLens that holds the tensor `name`."""
    kind = "bias" if name.startswith("b_") else "weight"
    found = [
        p
        for path, p in model.named_parameters()
        if path.replace("._original_component", "").endswith(f"{PATHS[name]}.{kind}")
    ]
    assert len(found) == 1, name
    value: Tensor = found[0]
    return value


def to_module(name: str, value: Tensor) -> Tensor:
    """A tensor of θ in the layout of its module: `nn.Linear` keeps [out, in], heads side by side."""
    if name in ("W_E", "W_pos"):
        return value
    if name in ("W_Q", "W_K", "W_V"):
        return value.transpose(1, 2).flatten(0, 1)
    return value.flatten(0, 1).T if name == "W_O" else value.T if name[0] == "W" else value.flatten()


def load(model: Any, theta: Theta, k: int) -> None:
    """Give the model weight set k; what the template lacks is switched off."""
    with torch.no_grad():
        for name in PATHS:
            target = parameter(model, name)
            if name in theta:
                target.copy_(to_module(name, theta[name][k]))
            elif name == "W_O":
                target.copy_(torch.eye(len(target)))  # heads side by side are added to the stream
            else:
                target.zero_()


@pytest.fixture(scope="module", params=["addmod", "arc1d"])
def pair(request: pytest.FixtureRequest) -> tuple[Transformer, Any]:
    template = make_template(paper(), request.param)
    assert isinstance(template, Transformer)
    return template, peer(template)


def test_every_parameter_of_the_peer_is_named(pair: tuple[Transformer, Any]) -> None:
    template, model = pair
    assert len(list(model.parameters())) == len(PATHS)
    assert {tensor.name for tensor in template.tensors} <= set(PATHS)


def test_names_and_layouts_are_transformer_lenss(pair: tuple[Transformer, Any]) -> None:
    template, model = pair
    theta = random_theta(template, 1)
    load(model, theta, 0)
    for name, value in theta.items():
        theirs = getattr(model, name)
        assert torch.equal(theirs.reshape(value.shape), value), name
        assert theirs.squeeze(0).shape == value.squeeze(0).shape, name


def test_logits_and_gradients(pair: tuple[Transformer, Any]) -> None:
    template, model = pair
    c, k, n = template.config, 2, 3
    theta, x = random_theta(template, k), torch.randint(template.config.d_vocab, (k, n, template.config.n_ctx))
    ours = template.forward(theta, x)
    for i in range(k):
        load(model, theta, i)
        logits = model(x[i])[:, -c.n_out :]
        assert_close({"logits": ours[i]}, {"logits": logits}, 1e-5)
        one = {name: value[i : i + 1].detach().clone().requires_grad_() for name, value in theta.items()}
        mine = gradients(template.forward(one, x[i : i + 1])[0], one)
        theirs = gradients(logits, {name: parameter(model, name) for name in theta})
        assert_close({name: to_module(name, value[0]) for name, value in mine.items()}, theirs, 1e-5)
