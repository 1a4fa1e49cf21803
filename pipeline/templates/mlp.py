"""The MLP template: x → ReLU layers → outputs (sumfirst: [10, 16, 1], 193 slots)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pipeline.templates.base import Axis, Template, TensorSpec, Theta, linear


class Mlp(Template):
    """Layers of widths `sizes`, ReLU between. θ: `W_0 [K, i, h]`, `b_0 [K, h]`, `W_1`, `b_1`, ….

    Args:
        sizes: widths, inputs first.
        origin, unit: coordinates of the inputs in the units of the intent, (i − origin) / unit.
    """

    kind = "mlp"

    def __init__(self, sizes: tuple[int, ...], origin: float = 0.0, unit: float = 1.0) -> None:
        self.sizes, self.origin, self.unit = tuple(sizes), origin, unit
        last = len(sizes) - 1
        axes = [
            Axis("input", sizes[0], origin, unit),
            *(Axis(f"hidden_{i}", sizes[i]) for i in range(1, last)),
            Axis("output", sizes[last]),
        ]
        tensors = []
        for layer, (source, target) in enumerate(pairwise(axes)):
            std = source.size**-0.5
            tensors.append(TensorSpec(f"W_{layer}", (source, target), std))
            tensors.append(TensorSpec(f"b_{layer}", (target,), std))
        self.tensors = tuple(tensors)

    def forward(self, theta: Theta, x: Tensor) -> Tensor:
        """x [K, n, i] gives [K, n, o]."""
        last = len(self.sizes) - 2
        for layer in range(last + 1):
            x = linear(x, theta[f"W_{layer}"], theta[f"b_{layer}"])
            if layer < last:
                x = torch.relu(x)
        return x

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "sizes": list(self.sizes), "origin": self.origin, "unit": self.unit}
