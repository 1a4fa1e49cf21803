"""A module's forward pass as a list of operations with the shapes of their results (torch.fx)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from pipeline.errors import UserError

SUPPORTED = (
    "supported are Linear, Conv1d to Conv3d (whole or depthwise), BatchNorm, LayerNorm, RMSNorm, GroupNorm of one "
    "group, Embedding, MultiheadAttention, TransformerEncoderLayer, activations, pooling, dropout, flatten, and sums "
    "or products of streams"
)


def unsupported(where: str, what: str) -> UserError:
    """The error for a layer or operation that has no place in a neural graph."""
    return UserError(f"{where}: {what}; {SUPPORTED}")


class Alone(nn.Module):
    """Calls one of torch's own layers, which are traced as wholes and so need a caller."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


class AloneAttention(Alone):
    """The same for attention, with its three inputs."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Any:  # type: ignore[override]
        return self.layer(query, key, value)


class Recorder(fx.Interpreter):
    """Runs the operations one by one; each node keeps its result's shape, or the result if it is no tensor."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["shape"] = tuple(value.shape) if isinstance(value, Tensor) else None
        n.meta["value"] = None if isinstance(value, Tensor) else value
        return value


def trace(module: nn.Module, example: tuple[Tensor, ...]) -> tuple[nn.Module, fx.Graph]:
    """The operations of `module` on the example inputs, and the module whose names they use.

    Without an example, one is made where the first layer says what it reads.

    Raises:
        UserError: if the forward pass branches on values, or does not run on the example.
    """
    kind, tracer = type(module).__name__, fx.Tracer()
    root = module
    if tracer.is_leaf_module(module, ""):
        root = (AloneAttention if isinstance(module, nn.MultiheadAttention) else Alone)(module)
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(root.forward).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    try:
        with _factories_traced(tracer):
            graph = tracer.trace(root, concrete_args=options)
    except Exception as error:  # whatever the user's code raises on symbolic values
        raise UserError(f"{kind}: forward cannot be traced by torch.fx ({_first_line(error)})") from None
    inputs = example or _examples(root, graph, kind)
    # Running a batch must leave the caller's random numbers as they were.
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            Recorder(root, graph=graph).run(*inputs)
    except Exception as error:
        shapes = ", ".join(str(list(x.shape)) for x in inputs)
        raise UserError(f"{kind}: does not run on an input of shape {shapes} ({_first_line(error)})") from None
    return root, graph


@contextmanager
def _factories_traced(tracer: fx.Tracer) -> Iterator[None]:
    """Let masks be made of traced sizes, `torch.ones(x.shape[1], x.shape[1])`: torch.fx alone cannot."""

    def traced(factory: Callable[..., Tensor]) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Any:
            symbolic: list[fx.Proxy] = []
            fx.node.map_aggregate((args, kwargs), lambda x: symbolic.append(x) if isinstance(x, fx.Proxy) else None)
            if not symbolic:
                return factory(*args, **kwargs)
            return tracer.create_proxy("call_function", factory, args, kwargs)

        return make

    originals = {name: getattr(torch, name) for name in ("ones", "zeros", "full", "arange")}
    try:
        for name, factory in originals.items():
            setattr(torch, name, traced(factory))
        yield
    finally:
        for name, factory in originals.items():
            setattr(torch, name, factory)


def _examples(root: nn.Module, graph: fx.Graph, kind: str) -> tuple[Tensor, ...]:
    """A small input for each argument that a layer of known input size reads first."""
    dtype = next((p.dtype for p in root.parameters()), torch.float32)
    found = []
    for node in graph.nodes:
        if node.op == "placeholder" and not node.args and node.users:
            layers = [root.get_submodule(str(user.target)) for user in node.users if user.op == "call_module"]
            made = next((x for x in (_example(layer, dtype) for layer in layers) if x is not None), None)
            if made is None:
                raise UserError(f"{kind}: the size of its input {node.name} is not known; pass an example input")
            found.append(made)
    return tuple(found)


def _example(layer: nn.Module, dtype: torch.dtype) -> Tensor | None:
    if isinstance(layer, nn.Linear):
        return torch.zeros(2, layer.in_features, dtype=dtype)
    if isinstance(layer, nn.Embedding):
        return torch.zeros(2, 2, dtype=torch.int64)
    if isinstance(layer, nn.LayerNorm):
        return torch.zeros(2, *layer.normalized_shape, dtype=dtype)
    if isinstance(layer, nn.MultiheadAttention):
        return torch.zeros(2, 2, layer.embed_dim, dtype=dtype)
    if isinstance(layer, nn.TransformerEncoderLayer):
        return torch.zeros(2, 2, layer.linear1.in_features, dtype=dtype)
    return None


def where(node: fx.Node, module: nn.Module) -> str:
    """The dotted name of the layer in whose forward the operation stands, or the module's class."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    names = [path for path, _ in stack if path]
    return str(names[-1]) if names else type(module).__name__


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
