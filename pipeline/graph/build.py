"""Neural graphs of templates."""

from __future__ import annotations

from pipeline.graph.from_module import from_module
from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL, EdgeBlock, Link, NeuralGraph, NodeGroup
from pipeline.templates import Mlp, ModuleTemplate, Template, Transformer


def from_template(template: Template) -> NeuralGraph:
    """The neural graph of a template. Raises `TypeError` for a template it does not know."""
    if isinstance(template, Mlp):
        return _mlp(template)
    if isinstance(template, Transformer):
        return _transformer(template)
    if isinstance(template, ModuleTemplate):
        return from_module(template.module, *template.example)
    raise TypeError(f"no neural graph is known for a template of kind {template.kind}")


def _mlp(template: Mlp) -> NeuralGraph:
    last = len(template.sizes) - 1
    axes = [template.tensors[0].axes[0], *(tensor.axes[1] for tensor in template.tensors[::2])]
    groups = tuple(
        NodeGroup(axis.name, (axis,), fixed=i in (0, last), bias=f"b_{i - 1}" if i else None)
        for i, axis in enumerate(axes)
    )
    blocks = tuple(EdgeBlock(f"W_{i}", axes[i].name, axes[i + 1].name, (0, 1)) for i in range(last))
    return NeuralGraph(groups, blocks, ())


def _transformer(template: Transformer) -> NeuralGraph:
    """Attention as in App. B.2, with two repairs: score nodes also lead to the values of their head
    (a head's queries, keys and values move together), and heads without an output projection are
    joined to the residual stream one to one."""
    c = template.config
    axes = {axis.name: axis for tensor in template.tensors for axis in tensor.axes}
    heads, model = (axes["head"], axes["d_head"]), (axes["d_model"],)
    bias = {letter: f"b_{letter}" if c.attention_bias else None for letter in "QKV"}
    groups = [
        NodeGroup("token_in", (axes["token_in"],), fixed=True),
        *([NodeGroup("position", (axes["position"],), fixed=True)] if c.positional else []),
        NodeGroup("embedded", model),
        *(NodeGroup(letter, heads, bias=bias[letter]) for letter in "QK"),
        NodeGroup("score", (axes["head"],)),
        NodeGroup("V", heads, bias=bias["V"]),
        NodeGroup("attended", model),
        NodeGroup("mlp", (axes["d_mlp"],), bias="b_in"),
        NodeGroup("final", model, bias="b_out"),
        NodeGroup("token_out", (axes["token_out"],), fixed=True),
    ]
    blocks = [
        EdgeBlock("W_E", "token_in", "embedded", (0, 1)),
        *([EdgeBlock("W_pos", "position", "embedded", (0, 1))] if c.positional else []),
        *(EdgeBlock(f"W_{letter}", "embedded", letter, (1, 0, 2)) for letter in "QKV"),
        *([EdgeBlock("W_O", "V", "attended", (0, 1, 2))] if c.output_projection else []),
        EdgeBlock("W_in", "attended", "mlp", (0, 1)),
        EdgeBlock("W_out", "mlp", "final", (0, 1)),
        EdgeBlock("W_U", "final", "token_out", (0, 1)),
    ]
    links = [
        Link(ALIGN, "Q", "K"),
        Link(PASS_THRU, "Q", "score"),
        Link(PASS_THRU, "K", "score"),
        Link(PASS_THRU, "score", "V"),
        Link(RESIDUAL, "embedded", "attended"),
        *([] if c.output_projection else [Link(RESIDUAL, "V", "attended")]),
        Link(RESIDUAL, "attended", "final"),
    ]
    return NeuralGraph(tuple(groups), tuple(blocks), tuple(links))
