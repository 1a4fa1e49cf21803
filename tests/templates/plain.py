"""Plain PyTorch modules of one weight set, written without the library, and the layout of θ in them."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.templates import Theta, TransformerConfig


class PlainMlp(nn.Module):
    """Linear layers with ReLU between."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out

    @staticmethod
    def state(theta: Theta, k: int) -> dict[str, Tensor]:
        """Weight set k as this module's state."""
        layers = range(len(theta) // 2)
        weights = {f"layers.{i}.weight": theta[f"W_{i}"][k].T for i in layers}
        return weights | {f"layers.{i}.bias": theta[f"b_{i}"][k] for i in layers}


class PlainTransformer(nn.Module):
    """One causal layer on tokens [n, s]: logits [n, s, v] at every position."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.embed = nn.Embedding(c.d_vocab, c.d_model)
        self.position = nn.Embedding(c.n_ctx, c.d_model) if c.positional else None
        self.q, self.k, self.v = (nn.Linear(c.d_model, c.d_model, c.attention_bias) for _ in range(3))
        self.o = nn.Linear(c.d_model, c.d_model, False) if c.output_projection else nn.Identity()
        self.inner, self.outer = nn.Linear(c.d_model, c.d_mlp), nn.Linear(c.d_mlp, c.d_model)
        self.unembed = nn.Linear(c.d_model, c.d_vocab, False)

    def forward(self, tokens: Tensor) -> Tensor:
        n, s = tokens.shape
        stream = self.embed(tokens)
        if self.position is not None:
            stream = stream + self.position(torch.arange(s))
        q, k, v = (
            map_(stream).view(n, s, self.config.n_heads, -1).transpose(1, 2) for map_ in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        stream = stream + self.o(mixed.transpose(1, 2).reshape(n, s, -1))
        stream = stream + self.outer(F.relu(self.inner(stream)))
        out: Tensor = self.unembed(stream)
        return out

    @staticmethod
    def state(theta: Theta, k: int) -> dict[str, Tensor]:
        """Weight set k as this module's state."""
        one = {name: value[k] for name, value in theta.items()}
        d = one["W_E"].shape[1]
        state = {"embed.weight": one["W_E"], "unembed.weight": one["W_U"].T}
        if "W_pos" in one:
            state["position.weight"] = one["W_pos"]
        for letter in "QKV":
            state[f"{letter.lower()}.weight"] = one[f"W_{letter}"].permute(0, 2, 1).reshape(d, d)
            if f"b_{letter}" in one:
                state[f"{letter.lower()}.bias"] = one[f"b_{letter}"].reshape(d)
        if "W_O" in one:
            state["o.weight"] = one["W_O"].reshape(d, d).T
        state |= {"inner.weight": one["W_in"].T, "inner.bias": one["b_in"]}
        return state | {"outer.weight": one["W_out"].T, "outer.bias": one["b_out"]}


def gradients(output: Tensor, theta: Theta) -> Theta:
    """Gradients of a fixed mix of all outputs with respect to each tensor of θ."""
    mix = torch.sin(torch.arange(output.numel(), dtype=output.dtype)).view(output.shape)
    values = torch.autograd.grad((output * mix).sum(), list(theta.values()))
    return dict(zip(theta, values, strict=True))


def assert_close(left: Theta, right: Theta, tolerance: float) -> None:
    """Every tensor within the tolerance of its counterpart, relative to the largest entry of all."""
    assert left.keys() == right.keys()
    size = max(1.0, *(float(value.detach().abs().max()) for value in right.values()))
    for name, value in left.items():
        assert float((value - right[name]).detach().abs().max()) < tolerance * size, name
