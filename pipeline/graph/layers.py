"""What each kind of layer adds to a neural graph: node groups, edge blocks, links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL, EdgeBlock, Link, NeuralGraph, NodeGroup
from pipeline.graph.streams import Stream
from pipeline.graph.trace import unsupported
from pipeline.templates import Axis


class Builder:
    """A neural graph in the making. Groups are named after the layers that write them."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self.parameters = parameters
        self.groups: dict[str, NodeGroup] = {}
        self.blocks: list[EdgeBlock] = []
        self.links: list[Link] = []
        self.inputs: dict[tuple[str, int], str] = {}

    def group(self, name: str, *sizes: int, fixed: bool = False, bias: str | None = None, part: int = -1) -> str:
        """Add a node group and return its name; `part` counts equal parts of a bias that groups share."""
        unique, i = name, 2
        while unique in self.groups:
            unique, i = f"{name}_{i}", i + 1
        kinds = ("head", "dimension") if len(sizes) > 1 else ("",)
        axes = tuple(Axis(f"{unique}.{kind}".rstrip("."), size) for kind, size in zip(kinds, sizes, strict=True))
        bias = bias if bias in self.parameters else None
        width = sizes[0] * sizes[-1] if len(sizes) > 1 else sizes[0]
        rows = slice(part * width, (part + 1) * width) if bias and part >= 0 else None
        self.groups[unique] = NodeGroup(unique, axes, fixed, bias, rows)
        return unique

    def reading(self, stream: Stream, size: int) -> Stream:
        """The stream as a layer of `size` input features reads it: an input's features become fixed nodes."""
        if stream.group is not None:
            return stream
        key = (stream.origin, size)
        if key not in self.inputs:
            self.inputs[key] = self.group(stream.origin, size, fixed=True)
        return replace(stream, group=self.inputs[key])

    def fix(self, name: str) -> None:
        """Give each node of a group a meaning of its own."""
        self.groups[name] = replace(self.groups[name], fixed=True)

    def graph(self) -> NeuralGraph:
        return NeuralGraph(tuple(self.groups.values()), tuple(self.blocks), tuple(self.links))


def dotted(name: str, parameter: str) -> str:
    """The full name of a layer's parameter."""
    return f"{name}.{parameter}".lstrip(".")


def linear(b: Builder, name: str, layer: nn.Linear, x: Stream, **_: Any) -> Stream:
    """Source nodes are the neurons of the last axis; where they were flattened with places, an edge has a
    number for each place."""
    x = b.reading(replace(x, axis=-1) if x.group is None else x, layer.in_features)
    if x.from_right != -1:
        raise unsupported(
            name, f"{_kind(layer)} mixes an axis that does not hold the channels; flatten or permute first"
        )
    source, tensor = b.groups[str(x.group)], dotted(name, "weight")
    target = b.group(name or "linear", layer.out_features, bias=dotted(name, "bias"))
    if x.plain:
        block = EdgeBlock(tensor, source.name, target, (1, 0), ((layer.out_features,), (source.size,)))
    else:
        factors = ((layer.out_features,), (x.before, source.size, x.after))
        block = EdgeBlock(tensor, source.name, target, (2, 0, 1, 3), factors, x.before * x.after)
    b.blocks.append(block)
    return Stream((*x.shape[:-1], layer.out_features), x.origin, target)


def convolution(b: Builder, name: str, layer: _ConvNd, x: Stream, shape: tuple[int, ...]) -> Stream:
    """An edge from each input to each output channel with a number for each kernel position; a
    depthwise convolution has edges from each channel to itself."""
    kind, spatial = _kind(layer), len(layer.kernel_size)
    if layer.transposed:
        raise unsupported(name, f"{kind} is not supported")
    x = _channels_first(b, name, layer, x, layer.in_channels, spatial)
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    if layer.groups != 1 and not depthwise:
        raise unsupported(name, f"{kind} has {layer.groups} groups, and only 1 or one per channel is supported")
    target = b.group(name or "convolution", layer.out_channels, bias=dotted(name, "bias"))
    factors = tuple((size,) for size in layer.weight.shape)
    places = layer.weight[0, 0].numel()
    paired = depthwise and layer.in_channels > 1
    order = (0, 1, *range(2, spatial + 2)) if paired else (1, 0, *range(2, spatial + 2))
    weight = dotted(name, "weight")
    b.blocks.append(EdgeBlock(weight, str(x.group), target, order, factors, places, paired=paired))
    return Stream(shape, x.origin, target, 1)


def normalisation(b: Builder, name: str, layer: nn.Module, x: Stream, **_: Any) -> Stream:
    """γ on one-to-one edges, β on the nodes behind them; without γ the neurons stay the same nodes."""
    kind, last = _kind(layer), isinstance(layer, nn.LayerNorm | nn.RMSNorm)
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        size = layer.normalized_shape[-1]
        if len(layer.normalized_shape) != 1:
            raise unsupported(name, f"{kind} over several axes {list(layer.normalized_shape)} is not supported")
    elif isinstance(layer, nn.GroupNorm):
        size = layer.num_channels
        if layer.num_groups not in (1, size):
            raise unsupported(name, f"{kind} of {layer.num_groups} groups is not supported, only 1 or one per channel")
    else:
        assert isinstance(layer, _BatchNorm)
        size = layer.num_features
    x = b.reading(replace(x, axis=-1 if last else 1) if x.group is None else x, size)
    if x.place != (len(x.shape) - 1 if last else 1) or not x.plain:
        raise unsupported(name, f"{kind} normalises an axis that does not hold the channels")
    told_apart = any(bool((buffer != buffer.flatten()[0]).any()) for buffer in layer.buffers() if buffer.numel())
    if getattr(layer, "weight", None) is None:
        if told_apart:
            b.fix(str(x.group))
        return x
    target = b.group(name or "normalisation", size, fixed=told_apart, bias=dotted(name, "bias"))
    b.blocks.append(EdgeBlock(dotted(name, "weight"), str(x.group), target, (0,), ((size,),), paired=True))
    return replace(x, group=target)


def embedding(b: Builder, name: str, layer: nn.Embedding, x: Stream, shape: tuple[int, ...]) -> Stream:
    """Each token is a node with a meaning of its own."""
    if x.group is not None or layer.max_norm is not None:
        raise unsupported(name, "Embedding with max_norm, or of something computed by a layer, is not supported")
    source = b.reading(x, layer.num_embeddings).group
    target = b.group(name or "embedding", layer.embedding_dim)
    factors = ((layer.num_embeddings,), (layer.embedding_dim,))
    b.blocks.append(EdgeBlock(dotted(name, "weight"), str(source), target, (0, 1), factors))
    return Stream(shape, x.origin, target)


def attention(b: Builder, name: str, layer: nn.MultiheadAttention, *qkv: Stream) -> Stream:
    """As `from_template` draws attention (App. B.2); `in_proj_weight` holds three blocks, one below the other."""
    if layer.bias_k is not None:
        raise unsupported(name, "MultiheadAttention with add_bias_kv is not supported")
    heads, d, inner = layer.num_heads, layer.embed_dim, {}
    widths = (d, layer.kdim, layer.vdim)
    prefix = f"{name}." if name else ""
    for i, (letter, x, width) in enumerate(zip("QKV", qkv, widths, strict=True)):
        x = b.reading(replace(x, axis=-1) if x.group is None else x, width)
        if x.from_right != -1 or not x.plain:
            raise unsupported(name, "MultiheadAttention reads an axis that does not hold the channels")
        if letter == "V":
            inner["score"] = b.group(f"{prefix}score", heads)
        bias = dotted(name, "in_proj_bias")
        inner[letter] = b.group(f"{prefix}{letter}", heads, d // heads, bias=bias, part=i)
        shared = layer.in_proj_weight is not None
        tensor = dotted(name, "in_proj_weight" if shared else f"{letter.lower()}_proj_weight")
        rows = slice(i * d, (i + 1) * d) if shared else None
        factors = ((heads, d // heads), (width,))
        b.blocks.append(EdgeBlock(tensor, str(x.group), inner[letter], (2, 0, 1), factors, rows=rows))
    out = b.group(f"{prefix}out_proj", d, bias=dotted(name, "out_proj.bias"))
    weight = dotted(name, "out_proj.weight")
    b.blocks.append(EdgeBlock(weight, inner["V"], out, (1, 2, 0), ((d,), (heads, d // heads))))
    b.links += [
        Link(ALIGN, inner["Q"], inner["K"]),
        Link(PASS_THRU, inner["Q"], inner["score"]),
        Link(PASS_THRU, inner["K"], inner["score"]),
        Link(PASS_THRU, inner["score"], inner["V"]),
    ]
    return Stream(qkv[0].shape, qkv[0].origin, out)


def encoder_layer(b: Builder, name: str, layer: nn.TransformerEncoderLayer, x: Stream, **_: Any) -> Stream:
    """Attention and MLP with their residual sums and norms, in either order."""
    known = layer.activation in (F.relu, F.gelu) or isinstance(layer.activation, nn.ReLU | nn.GELU | nn.SiLU | nn.Tanh)
    if not known:
        raise unsupported(name, "TransformerEncoderLayer with an activation other than relu, gelu, silu or tanh")
    x = b.reading(replace(x, axis=-1) if x.group is None else x, layer.linear1.in_features)

    def attend(h: Stream) -> Stream:
        return attention(b, dotted(name, "self_attn"), layer.self_attn, h, h, h)

    def transform(h: Stream) -> Stream:
        hidden = linear(b, dotted(name, "linear1"), layer.linear1, h)
        return linear(b, dotted(name, "linear2"), layer.linear2, hidden)

    for i, (update, norm) in enumerate([(attend, layer.norm1), (transform, layer.norm2)], 1):
        norm_name, sum_name = dotted(name, f"norm{i}"), dotted(name, f"sum{i}")
        if layer.norm_first:
            x = residual(b, sum_name, x, update(normalisation(b, norm_name, norm, x)))
        else:
            x = normalisation(b, norm_name, norm, residual(b, sum_name, x, update(x)))
    return x


def encoder(b: Builder, name: str, layer: nn.TransformerEncoder, x: Stream, **_: Any) -> Stream:
    """Encoder layers in a row, then a norm if there is one."""
    for i, inner in enumerate(layer.layers):
        assert isinstance(inner, nn.TransformerEncoderLayer)
        x = encoder_layer(b, dotted(name, f"layers.{i}"), inner, x)
    return x if layer.norm is None else normalisation(b, dotted(name, "norm"), layer.norm, x)


def residual(b: Builder, name: str, *terms: Stream) -> Stream:
    """The sum of streams: a group of its own, joined to each term one to one with fixed weight 1."""
    target = b.group(name, terms[0].size)
    b.links += [Link(RESIDUAL, str(term.group), target) for term in terms]
    return replace(terms[0], group=target)


def product(b: Builder, x: Stream, y: Stream) -> Stream:
    """The product of streams (a gate): neurons that are multiplied move together."""
    b.links.append(Link(ALIGN, str(x.group), str(y.group)))
    return x


def positions(b: Builder, name: str, tensor: str, x: Stream) -> Stream:
    """A parameter […, d] added to a stream with its neurons last: a row for each place, as positional codes have."""
    shape = b.parameters[tensor].shape
    if x.from_right != -1 or not x.plain or not shape or shape[-1] != x.size:
        raise unsupported(tensor, f"a parameter of shape {list(shape)} is added to a stream that has no such rows")
    n = b.parameters[tensor].numel() // x.size
    source = b.group(tensor, n, fixed=True)
    target = residual(b, name, x)
    factors = tuple((size,) for size in shape)
    b.blocks.append(EdgeBlock(tensor, source, str(target.group), tuple(range(len(shape))), factors))
    return target


def _channels_first(b: Builder, name: str, layer: nn.Module, x: Stream, size: int, spatial: int) -> Stream:
    x = b.reading(replace(x, axis=1) if x.group is None and len(x.shape) > 1 else x, size)
    if len(x.shape) != spatial + 2 or x.place != 1 or not x.plain:
        raise unsupported(name, f"{_kind(layer)} needs a batch [n, channels, …] with the channels of a layer on axis 1")
    return x


def _kind(layer: nn.Module) -> str:
    return type(layer).__name__


HANDLERS: dict[type[nn.Module] | tuple[type[nn.Module], ...], Callable[..., Stream]] = {
    nn.Linear: linear,
    (nn.Conv1d, nn.Conv2d, nn.Conv3d): convolution,
    (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm): normalisation,
    nn.Embedding: embedding,
    nn.TransformerEncoderLayer: encoder_layer,
    nn.TransformerEncoder: encoder,
}
