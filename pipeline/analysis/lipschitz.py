"""How far a template's last hidden vector can move when its weights do: Lemma 1 (App. A.7), for both templates.

Every bound has the form Σ_t c_t ‖Δθ_t‖, one coefficient per tensor of θ. It holds for all θ' of a region
‖θ'_t − θ_t‖ ≤ r_t, not only near θ. As in equation (1), activations are those at θ, exact for every input, and
only operator norms are taken at θ', where ‖W'‖ ≤ ‖W‖ + r. ‖Δθ_t‖ may be the operator norm (`operator_norm`)
or anything larger, such as the paper's Frobenius norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Protocol

import torch
from torch import Tensor

from pipeline.templates import Mlp, Template, Theta, Transformer

ROOT_2 = 2**0.5
PER_HEAD = ("W_Q", "b_Q", "W_K", "b_K", "W_V", "b_V")


@dataclass(frozen=True)
class Change:
    """A bound Σ_t by[t] ‖Δθ_t‖ on the change of vectors; the coefficients are arrays of any one shape, or broadcast."""

    by: dict[str, Tensor]

    def __add__(self, other: Change) -> Change:
        both = {name: self.by[name] + other.by[name] for name in self.by.keys() & other.by.keys()}
        return Change(self.by | other.by | both)

    def times(self, factor: Tensor) -> Change:
        return Change({name: value * factor for name, value in self.by.items()})

    def at(self, region: Mapping[str, float]) -> Tensor:
        """The bound for moves as large as the region allows."""
        return sum((value * region[name] for name, value in self.by.items()), torch.zeros((), dtype=torch.float64))

    def steepest(self) -> Tensor:
        """The largest coefficient: by how much the bound grows with Σ_t ‖Δθ_t‖."""
        return reduce(torch.maximum, self.by.values(), torch.zeros((), dtype=torch.float64))


class Body(Protocol):
    """A template without its last linear map, at weights θ and N inputs (or places of their answers)."""

    hidden: Tensor
    """What the last linear map reads [N, d] (float64)."""

    def change(self, region: Mapping[str, float]) -> Change:
        """A bound [N] on the change of `hidden` for all θ' in the region."""


def body(template: Template, theta: Theta, x: Tensor) -> Body:
    """The body of the template with θ (float64, K = 1) on what it reads, x [n, …]."""
    if isinstance(template, Transformer):
        return _TransformerBody(template, theta, x)
    assert isinstance(template, Mlp)
    return _MlpBody(template, theta, x)


def operator_norm(name: str, value: Tensor) -> float:
    """‖·‖₂ of one tensor of θ without its intent axis; of projections to heads, the root of their sum of squares."""
    if name.startswith("b_"):
        return float(value.double().norm())
    matrices = value.flatten(0, 1) if name == "W_O" else value  # [h·e, d]
    return float(_spectral(matrices).norm())


def _spectral(weight: Tensor) -> Tensor:
    """‖W‖₂ [...] of matrices [..., i, o], in float64."""
    return torch.linalg.matrix_norm(weight.double(), 2)


def _one() -> Tensor:
    return torch.ones((), dtype=torch.float64)


def _after(before: Change, size: Tensor, weight: str, norm: Tensor | float, radius: float, bias: str | None) -> Change:
    """Equation (1): the change of W x + b, from that of x, of norm `size`."""
    after = before.times(torch.as_tensor(norm + radius, dtype=torch.float64)) + Change({weight: size})
    return after if bias is None else after + Change({bias: _one()})


class _MlpBody:
    """ReLU layers: equation (3)."""

    def __init__(self, template: Mlp, theta: Theta, x: Tensor) -> None:
        self.norms, self.sizes = [], []
        for layer in range(len(template.sizes) - 2):
            weight = theta[f"W_{layer}"][0]
            self.norms.append(_spectral(weight))
            self.sizes.append(x.norm(dim=-1))
            x = torch.relu(x @ weight + theta[f"b_{layer}"][0])
        self.hidden = x

    def change(self, region: Mapping[str, float]) -> Change:
        change = Change({})
        for layer, (norm, size) in enumerate(zip(self.norms, self.sizes, strict=True)):
            weight = f"W_{layer}"
            change = _after(change, size, weight, norm, region[weight], f"b_{layer}")
        return change


class _TransformerBody:
    """One layer of attention and MLP on a residual stream; coefficients [n, m] at the places that answer.

    Attention depends on keys through their differences, and Σ_j (a'_j − a_j) = 0, so with D the largest distance
    between two positions' vectors, ‖Σ_j (a'_j − a_j) v_j‖ ≤ ½ ‖a' − a‖₁ D(v), and ‖a' − a‖₁ is at most half the
    range of the change of the scores: the mean absolute deviation under any distribution is at most half a range.
    """

    def __init__(self, template: Transformer, theta: Theta, x: Tensor) -> None:
        self.config = c = template.config
        stream = template.embed(theta, x[None])  # [1, n, s, d]
        last = stream[:, :, -c.n_out :]  # [1, n, m, d]
        queries, keys, values = (
            template.project(theta, s, letter)[0] for s, letter in ((last, "Q"), (stream, "K"), (stream, "V"))
        )  # [n, h, s, e]
        mixed = template.attend(queries[None], keys[None], values[None])[0].flatten(2)  # [n, m, d]
        update = mixed @ theta["W_O"][0].flatten(0, 1) if c.output_projection else mixed
        middle = last[0] + update
        inner = torch.relu(middle @ theta["W_in"][0] + theta["b_in"][0])
        self.hidden = (middle + inner @ theta["W_out"][0] + theta["b_out"][0]).flatten(0, 1)  # [n·m, d]
        self.theta = theta
        self.asked, self.longest = last[0].norm(dim=-1), stream[0].norm(dim=-1).amax(-1)[:, None]  # [n, m], [n, 1]
        self.query = queries.norm(dim=-1).transpose(1, 2)  # [n, m, h]
        self.keys_apart, self.values_apart = _apart(keys)[:, None], _apart(values)[:, None]  # [n, 1, h]
        self.stream_apart = _apart(stream[0])[:, None]  # [n, 1]
        self.mixed, self.middle, self.inner = (v.norm(dim=-1) for v in (mixed, middle, inner))  # [n, m]
        self.scale = template.d_head**-0.5

    @cached_property
    def norms(self) -> dict[str, Tensor]:
        """‖W‖₂, of each head [h] for queries, keys and values."""
        norms = {name: _spectral(self.theta[name][0]) for name in ("W_Q", "W_K", "W_V", "W_in", "W_out")}
        if self.config.output_projection:
            norms["W_O"] = _spectral(self.theta["W_O"][0].flatten(0, 1))
        return norms

    def change(self, region: Mapping[str, float]) -> Change:
        c, norm = self.config, self.norms
        token = Change({"W_E": _one()} | ({"W_pos": _one()} if c.positional else {}))
        mixed = self._mixed(token, region)
        if c.output_projection:
            mixed = _after(mixed, self.mixed, "W_O", norm["W_O"], region["W_O"], None)
        middle = token + mixed
        inner = _after(middle, self.middle, "W_in", norm["W_in"], region["W_in"], "b_in")
        hidden = middle + _after(inner, self.inner, "W_out", norm["W_out"], region["W_out"], "b_out")
        shape = self.middle.shape
        return Change({name: value.expand(shape).flatten() for name, value in hidden.by.items()})  # [n·m]

    def _mixed(self, token: Change, region: Mapping[str, float]) -> Change:
        """The heads' outputs, concatenated [n, m]: values move, then attention does."""
        bias = {letter: f"b_{letter}" if self.config.attention_bias else None for letter in "QKV"}
        of_heads = self.norms["W_V"].norm()
        values = _after(token, self.longest, "W_V", of_heads, region["W_V"], bias["V"])
        query = _after(token, self.asked[..., None], "W_Q", self.norms["W_Q"], region["W_Q"], bias["Q"])  # [n, m, h]
        # b_K moves all scores of a query alike, which no softmax sees.
        apart = token.times(torch.tensor(ROOT_2, dtype=torch.float64))
        keys = _after(apart, self.stream_apart[..., None], "W_K", self.norms["W_K"], region["W_K"], None)
        scores = query.times(self.keys_apart) + keys.times(self.query + query.at(region))
        return values + _over_heads(scores.times(self.scale / 4 * self.values_apart))


def _over_heads(change: Change) -> Change:
    """The change [...] of vectors of all heads from that of each [..., h].

    A tensor that is split among heads has Σ_h ‖Δθ_h‖² ≤ ‖Δθ‖²; others act on every head.
    """
    return Change(
        {name: v.amax(-1) if name in PER_HEAD else torch.linalg.vector_norm(v, dim=-1) for name, v in change.by.items()}
    )


def _apart(vectors: Tensor) -> Tensor:
    """The largest distance [...] between two of the s vectors [..., s, d]."""
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist").amax((-2, -1))
