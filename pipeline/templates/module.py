"""Any `nn.Module` as a template: its own forward pass over K weight sets by `torch.func` and `torch.vmap`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from pipeline.errors import UserError
from pipeline.templates.base import Axis, Template, TensorSpec, Theta

# A row of an embedding, a scale and a shift each have one active input, so 1 / √fan-in would be 1;
# half of that, as for W_E of the Transformer template.
ONE_INPUT_STD = 0.5


class ModuleTemplate(Template):
    """A user's network. θ has the names and shapes of `module.named_parameters()`.

    The module is used as it is: in the mode (train or eval) that it is in, with its buffers shared by
    all K weight sets. Its own parameters are the initial θ, so scales start at 1.

    Args:
        module: the network; it is not changed.
        example: inputs for one weight set, [n, …] each, where the graph needs them (see `from_module`).

    Raises:
        UserError: for tied parameters, none at all, or a BatchNorm that would update its statistics.
    """

    kind = "module"

    def __init__(self, module: nn.Module, *example: Tensor) -> None:
        refuse_tied(module)
        refuse_updates(module)
        self.module, self.example = module, example
        parameters = dict(module.named_parameters())
        self.tensors = tuple(_spec(name, parameters, module) for name in parameters)
        self.own = torch.cat([p.detach().float().flatten().cpu() for p in parameters.values()])

    def forward(self, theta: Theta, x: Tensor, *more: Tensor) -> Tensor:
        """x [K, n, …] (and other inputs) give the module's output [K, n, …]; of a tuple, its first."""
        refuse_updates(self.module)
        like = next(iter(theta.values()))
        buffers = {
            name: buffer.to(like.device, like.dtype if buffer.is_floating_point() else buffer.dtype)
            for name, buffer in self.module.named_buffers()
        }

        def run(weights: Theta, *inputs: Tensor) -> Tensor:
            out = functional_call(self.module, (weights, buffers), inputs)
            return out[0] if isinstance(out, tuple) else out

        with _plain_attention():
            # Dropout, where the module is in training mode, drops other neurons for each weight set.
            return torch.vmap(run, randomness="different")(theta, x, *more)

    def initial(self, generator: torch.Generator) -> Tensor:
        """Slots [T] of the module's own parameters, as they were when the template was made."""
        return self.own.clone()

    def spec(self) -> dict[str, Any]:
        """Raises `UserError`: a module's code cannot be written to a file."""
        raise UserError(f"{type(self.module).__name__}: a network of your own cannot be stored; store θ and rebuild it")


def refuse_tied(module: nn.Module) -> None:
    """Raise `UserError` if the module has no parameters, or one parameter in two places."""
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            raise UserError(
                f"{name}: is tied to {first[id(parameter)]}; a neural graph has one place for each weight; untie them"
            )
        first[id(parameter)] = name
    if not first:
        raise UserError(f"{type(module).__name__}: has no parameters to generate")


def refuse_updates(module: nn.Module) -> None:
    """Raise `UserError` if a forward pass would change the buffers that all weight sets share."""
    for name, layer in module.named_modules():
        if isinstance(layer, _NormBase) and layer.training and layer.track_running_stats:
            raise UserError(
                f"{name or type(layer).__name__}: {type(layer).__name__} would update its running statistics, which K "
                f"weight sets cannot share; call eval() on the module, or build it with track_running_stats=False"
            )


def _spec(name: str, parameters: dict[str, nn.Parameter], module: nn.Module) -> TensorSpec:
    """A parameter with its shape, mean and spread 1 / √fan-in; a bias has the fan-in of its weight."""
    axes = tuple(Axis(f"{name}[{i}]", size) for i, size in enumerate(parameters[name].shape))
    owner, _, last = name.rpartition(".")
    layer = module.get_submodule(owner)
    if isinstance(layer, _NormBase | nn.LayerNorm | nn.RMSNorm | nn.GroupNorm):
        return TensorSpec(name, axes, ONE_INPUT_STD, mean=1.0 if last == "weight" else 0.0)
    weight = parameters.get(name.removesuffix(last) + last.replace("bias", "weight"))
    if weight is None or weight.ndim < 2 or not last.endswith(("weight", "bias")) or isinstance(layer, nn.Embedding):
        return TensorSpec(name, axes, ONE_INPUT_STD)
    return TensorSpec(name, axes, weight[0].numel() ** -0.5)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention by matrix products: torch's fused kernels know nothing of vmap, or run one weight set after another."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
