"""The neural graph of any network: its forward pass is traced, and each layer adds its nodes and edges."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from pipeline.graph.layers import HANDLERS, Builder, attention, positions, product, residual
from pipeline.graph.neural_graph import NeuralGraph
from pipeline.graph.operations import ARITHMETIC, ELEMENTWISE, FOLLOWED, PLAIN_LAYERS, POOLING, RESHAPING
from pipeline.graph.streams import Stream
from pipeline.graph.trace import trace, unsupported, where
from pipeline.templates.module import refuse_tied, refuse_updates

Value = Stream | nn.Parameter | None


def from_module(module: nn.Module, *example: Tensor) -> NeuralGraph:
    """The neural graph of a network whose weights are to be written (App. B).

    Channels and features are nodes, and so are inputs and outputs, which keep their places. A weight is
    an edge: a convolution's has a number for each kernel position, a linear layer's behind a flatten
    one for each place. Normalisation is a one-to-one edge γ and a node β; sums are residual links.

    Args:
        module: built of supported layers, in any forward pass that `torch.fx` can trace.
        example: a batch for each input, [n, …]; only shapes are read. It may be left out where the
            first layer says what it reads (Linear, LayerNorm, Embedding, attention).

    Raises:
        UserError: one line with the dotted name of the layer that has no place in a neural graph,
            and what is supported; for tied parameters; for a forward pass that cannot be traced.
    """
    refuse_tied(module)
    refuse_updates(module)
    root, graph = trace(module, example)
    walk = Walk(module, root)
    for node in graph.nodes:
        walk.values[node] = walk.visit(node)
    return walk.finish()


class Walk:
    """Follows streams through the traced operations; layers and sums add to the builder."""

    def __init__(self, module: nn.Module, root: nn.Module) -> None:
        self.module, self.root = module, root
        self.b = Builder(dict(module.named_parameters()))
        self.values: dict[fx.Node, Value] = {}

    def visit(self, node: fx.Node) -> Value:
        """What a node gives: a stream, a parameter, or None for anything else."""
        shape = node.meta["shape"]
        if node.op == "output":
            self._output(node)
            return None
        if node.op == "get_attr":
            name = self._name(str(node.target))
            if name in self.b.parameters:
                return self.b.parameters[name]
        inputs = [self.values[n] for n in node.all_input_nodes]
        touched = [x for x in inputs if isinstance(x, Stream) and x.group is not None]
        parametrised = any(isinstance(x, nn.Parameter) for x in inputs)
        if node.op == "call_module":
            return self._layer(node, shape)
        if not touched and not parametrised:  # inputs, and whatever is made of them without parameters
            origin = next((x.origin for x in inputs if isinstance(x, Stream)), node.name)
            return None if shape is None else Stream(shape, origin)
        if shape is None and not _holds_tensors(node.meta["value"]):  # a size, a dtype
            return None
        return self._function(node, shape, touched)

    def finish(self) -> NeuralGraph:
        """The graph. Raises `UserError` for a parameter that the forward pass uses never, or twice."""
        graph = self.b.graph()
        places = [(g.bias, g.bias_rows.start if g.bias_rows else 0) for g in graph.groups]
        places += [(b.tensor, b.rows.start if b.rows else 0) for b in graph.blocks]
        for name in self.b.parameters:
            owner = name.rpartition(".")[0]
            mine = [place for place in places if place[0] == name]
            if not mine:
                raise unsupported(name, "this parameter is not used by a supported layer in forward")
            if len(set(mine)) < len(mine):
                raise unsupported(owner or name, "is called twice, and a neural graph has one place for each weight")
        return graph

    def _name(self, target: str) -> str:
        """A traced name as the user's module has it."""
        return target if self.root is self.module else target.removeprefix("layer").removeprefix(".")

    def _output(self, node: fx.Node) -> None:
        for source in node.all_input_nodes:
            value = self.values[source]
            if isinstance(value, Stream) and value.group is not None:
                self.b.fix(value.group)

    def _layer(self, node: fx.Node, shape: Any) -> Value:
        name, layer = self._name(str(node.target)), self.root.get_submodule(str(node.target))
        kind, plain = type(layer).__name__, PLAIN_LAYERS.get(type(layer))
        at = name or kind
        names = ("query", "key", "value") if isinstance(layer, nn.MultiheadAttention) else ("input", "src", "x")
        named = [node.kwargs[key] for key in names if key in node.kwargs]
        read = [*node.args, *named][: 3 if isinstance(layer, nn.MultiheadAttention) else 1]
        streams = [x for x in (self.values[n] for n in read if isinstance(n, fx.Node)) if isinstance(x, Stream)]
        if len(streams) != len(read) or not streams:
            raise unsupported(at, f"{kind} reads something that is no stream of neurons")
        self._masks(at, kind, [self.values[n] for n in node.all_input_nodes if n not in read])
        x = streams[0]
        if plain is not None:
            return Stream(shape, x.origin) if x.group is None else self._simple(at, kind, plain, x, shape, node)
        if isinstance(layer, nn.MultiheadAttention):
            return attention(self.b, name, layer, *streams)
        for kinds, handler in HANDLERS.items():
            if type(layer) in (kinds if isinstance(kinds, tuple) else (kinds,)):
                return handler(self.b, name, layer, x, shape=shape)
        raise unsupported(at, f"{kind} is not supported")

    def _masks(self, at: str, kind: str, others: list[Value]) -> None:
        """What a layer reads beside its streams must treat neurons and heads alike."""
        for mask in others:
            if isinstance(mask, nn.Parameter) or (isinstance(mask, Stream) and mask.group is not None):
                raise unsupported(at, f"{kind} with a mask that is computed from weights is not supported")
            if isinstance(mask, Stream) and len(mask.shape) == 3:
                raise unsupported(at, f"{kind} with a mask for each head is not supported")

    def _function(self, node: fx.Node, shape: Any, touched: list[Stream]) -> Value:
        name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
        at = where(node, self.module)
        operands = [self.values[n] for n in node.all_input_nodes]
        for n, operand in zip(node.all_input_nodes, operands, strict=True):
            if isinstance(operand, nn.Parameter):
                return self._bare_parameter(node, name, n, touched)
        x = touched[0]
        whole = node.all_input_nodes[0].meta["shape"] is None  # an attention layer's (output, weights)
        if name == "getitem" and node.args[0] is node.all_input_nodes[0] and whole:
            if node.args[1] != 0:
                raise unsupported(at, "attention weights are read, and they are no stream of neurons")
            return x
        streams = [y for y in operands if isinstance(y, Stream)]
        if name in ARITHMETIC:
            return self._arithmetic(node, at, ARITHMETIC[name], shape, streams)
        if len(streams) > 1:
            raise unsupported(at, f"forward joins streams by {name}")
        return self._simple(at, name, name, x, shape, node)

    def _bare_parameter(self, node: fx.Node, name: str, source: fx.Node, touched: list[Stream]) -> Stream:
        parameter = self._name(str(source.target))
        if ARITHMETIC.get(name) != "add" or len(touched) != 1:
            raise unsupported(parameter, f"forward uses this parameter in {name}, not in a layer")
        return positions(self.b, node.name, parameter, touched[0])

    def _arithmetic(self, node: fx.Node, at: str, kind: str, shape: Any, streams: list[Stream]) -> Stream:
        """Sums and products of streams; numbers, and tensors that are alike for all neurons, change nothing."""
        first = next(x for x in streams if x.group is not None)
        right = first.from_right  # broadcasting lines axes up from the last
        here = Stream(shape, first.origin, first.group, len(shape) + right, first.before, first.after)
        others: list[Stream] = []
        for x in streams:
            if x is first or (x.group is None and (len(x.shape) < -right or x.shape[right] == 1 < first.size)):
                continue
            if x.group is None and first.plain and len(x.shape) >= -right and x.shape[right] == first.size:
                x = self.b.reading(Stream(x.shape, x.origin, axis=right), first.size)
            if x.group is None or (x.from_right, x.size, x.before, x.after) != (
                right, first.size, first.before, first.after
            ):  # fmt: skip
                raise unsupported(at, "forward adds or multiplies streams of different neurons")
            if x.group != first.group and all(x.group != other.group for other in others):
                others.append(x)
        if not others:
            return here
        if kind == "other":
            raise unsupported(at, f"forward joins streams by {node.name.rstrip('_0123456789')}")
        return residual(self.b, node.name, here, *others) if kind == "add" else product(self.b, here, others[0])

    def _simple(self, at: str, label: str, name: str, x: Stream, shape: Any, node: fx.Node) -> Stream:
        """Operations without parameters on one stream."""
        moved: Stream | None = None
        if name in ELEMENTWISE:
            moved = Stream(shape, x.origin, x.group, x.place, x.before, x.after)
        elif name in RESHAPING:
            moved = x.reshaped(shape)
        elif name in POOLING:
            spatial = len(shape) - 2 if name == "interpolate" else int(name[-2])
            if x.place == 1 and x.plain and len(shape) == spatial + 2:
                moved = Stream(shape, x.origin, x.group, 1)
        elif name in FOLLOWED:
            moved = x.followed(lambda probe: self._again(node, probe), shape)
        else:
            raise unsupported(at, f"{label} is not supported")
        if moved is None:
            raise unsupported(at, f"{label} mixes or drops neurons, or reads another axis than theirs")
        return moved

    def _again(self, node: fx.Node, probe: Tensor) -> Any:
        """The node's operation with the probe in place of its stream, and other arguments as they were."""
        stream = next(n for n in node.all_input_nodes if isinstance(self.values[n], Stream))
        known = lambda n: probe if n is stream else n.meta["value"]  # noqa: E731
        args, kwargs = fx.map_arg(node.args, known), fx.map_arg(node.kwargs, known)
        if node.op == "call_method":
            return getattr(probe, str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, tuple | list) and any(isinstance(part, Tensor) for part in value)
