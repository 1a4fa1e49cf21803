"""The Transformer template: one causal layer, residual stream, no layer norm (addmod 6,048, arc1d 17,568 slots)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.templates.base import Axis, Template, TensorSpec, Theta, linear, one_hot

# W_E has one active input per token, so 1 / √fan-in would be 1; half of that keeps a token's row, of
# 16 to 32 dimensions, near the size of what the layer adds to it.
EMBEDDING_STD = 0.5
# Less for W_pos: the more positions differ at the start, the later arc1d carries over from seen to unseen rows.
POSITION_STD = 0.25


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and options of a template; `n_out` predictions are read from the last positions."""

    d_vocab: int
    n_ctx: int
    n_out: int
    d_model: int
    n_heads: int
    d_mlp: int
    positional: bool
    attention_bias: bool
    output_projection: bool
    token_unit: float


class Transformer(Template):
    """Attention and ReLU MLP with residual connections, TransformerLens's tensor names and layouts.

    Without an output projection the heads' outputs, concatenated, are added to the residual stream,
    so head h writes dimensions h · d_head … (h + 1) · d_head − 1.
    """

    kind = "transformer"

    def __init__(self, config: TransformerConfig) -> None:
        self.config = c = config
        self.d_head = c.d_model // c.n_heads
        self.tensors = tuple(self._tensors())

    def _tensors(self) -> list[TensorSpec]:
        c = self.config
        token_in = Axis("token_in", c.d_vocab, 0.0, c.token_unit)
        token_out = Axis("token_out", c.d_vocab, 0.0, c.token_unit)
        position = Axis("position", c.n_ctx, 0.0, float(c.n_ctx))
        model, mlp = Axis("d_model", c.d_model), Axis("d_mlp", c.d_mlp)
        head, d_head = Axis("head", c.n_heads), Axis("d_head", self.d_head)
        std, std_mlp = c.d_model**-0.5, c.d_mlp**-0.5
        tensors = [TensorSpec("W_E", (token_in, model), EMBEDDING_STD)]
        if c.positional:
            tensors.append(TensorSpec("W_pos", (position, model), POSITION_STD))
        for letter in "QKV":
            tensors.append(TensorSpec(f"W_{letter}", (head, model, d_head), std))
            if c.attention_bias:
                tensors.append(TensorSpec(f"b_{letter}", (head, d_head), std))
        if c.output_projection:
            tensors.append(TensorSpec("W_O", (head, d_head, model), std))
        return [
            *tensors,
            TensorSpec("W_in", (model, mlp), std),
            TensorSpec("b_in", (mlp,), std),
            TensorSpec("W_out", (mlp, model), std_mlp),
            TensorSpec("b_out", (model,), std_mlp),
            TensorSpec("W_U", (model, token_out), std),
        ]

    def forward(self, theta: Theta, x: Tensor) -> Tensor:
        """Tokens x [K, n, s] give logits [K, n, n_out, d_vocab] at the last n_out positions.

        Only the last positions ask: one layer's keys and values need no other position's output.
        """
        stream = self.embed(theta, x)  # [K, n, s, d]
        keys, values = self.project(theta, stream, "K"), self.project(theta, stream, "V")
        stream = stream[:, :, -self.config.n_out :]  # [K, n, m, d]
        queries = self.project(theta, stream, "Q")
        return self.finish(theta, stream, self.attend(queries, keys, values))

    def embed(self, theta: Theta, x: Tensor, first: int = 0) -> Tensor:
        """Tokens [K, n, s] at positions first, first + 1, … give the residual stream [K, n, s, d]."""
        k, n, s = x.shape
        # A product with one-hot rows: on a GPU its gradient needs no atomics, so it is deterministic.
        rows = one_hot(x.flatten(1), self.config.d_vocab).to(theta["W_E"].dtype)
        stream = torch.bmm(rows, theta["W_E"]).view(k, n, s, -1)  # [K, n, s, d]
        if self.config.positional:
            stream = stream + theta["W_pos"][:, None, first : first + s]
        return stream

    def project(self, theta: Theta, stream: Tensor, letter: str) -> Tensor:
        """Queries, keys or values of every head [K, n, h, s, e] from the stream [K, n, s, d]."""
        k, n, s, d = stream.shape
        weight = theta[f"W_{letter}"].transpose(1, 2).reshape(k, d, -1)  # [K, d, h·e]
        bias = theta[f"b_{letter}"].flatten(1) if self.config.attention_bias else None
        out = linear(stream.reshape(k, n * s, d), weight, bias)
        return out.view(k, n, s, self.config.n_heads, self.d_head).transpose(2, 3)  # [K, n, h, s, e]

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Causal attention: the m queries stand at the last of the s positions; gives [K, n, m, h, e]."""
        m, s = queries.shape[-2], keys.shape[-2]
        scores = queries @ keys.transpose(-1, -2) * self.d_head**-0.5  # [K, n, h, m, s]
        if m > 1:
            later = torch.ones(m, s, dtype=torch.bool, device=scores.device).triu(s - m + 1)
            scores = scores.masked_fill(later, float("-inf"))
        return (scores.softmax(-1) @ values).transpose(2, 3)  # [K, n, m, h, e]

    def finish(self, theta: Theta, stream: Tensor, mixed: Tensor) -> Tensor:
        """Logits [K, n, m, v] from the stream [K, n, m, d] and the heads' outputs [K, n, m, h, e]."""
        k, n, m, d = stream.shape
        update = mixed.reshape(k, n * m, d)
        if self.config.output_projection:
            update = linear(update, theta["W_O"].reshape(k, d, d))
        stream = stream.reshape(k, n * m, d) + update
        hidden = torch.relu(linear(stream, theta["W_in"], theta["b_in"]))
        stream = stream + linear(hidden, theta["W_out"], theta["b_out"])
        return linear(stream, theta["W_U"]).view(k, n, m, -1)  # [K, n, m, v]

    @torch.no_grad()
    def decode(self, theta: Theta, x: Tensor) -> Tensor:
        """Greedy decoding with a key–value cache: x [K, n, l] gives answers [K, n, n_out]."""
        stream = self.embed(theta, x)
        keys, values = self.project(theta, stream, "K"), self.project(theta, stream, "V")
        answers: list[Tensor] = []
        for step in range(self.config.n_out):
            if step:
                stream = self.embed(theta, answers[-1][..., None], x.shape[-1] + step - 1)
                keys = torch.cat([keys, self.project(theta, stream, "K")], -2)
                values = torch.cat([values, self.project(theta, stream, "V")], -2)
            last = stream[:, :, -1:]
            mixed = self.attend(self.project(theta, last, "Q"), keys, values)
            answers.append(self.finish(theta, last, mixed)[:, :, 0].argmax(-1))  # [K, n]
        return torch.stack(answers, -1)  # [K, n, m]

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self.config)}
