"""Networks that have no neural graph: one line with the layer's dotted name and what is supported."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.graph import NeuralGraph
from pipeline.templates import ModuleTemplate


class Net(nn.Module):
    """Layers by name, and a forward pass by function."""

    def __init__(self, forward: Callable[[Net, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def inside(layer: nn.Module, *around: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Sequential(*around, layer))


def tied() -> nn.Module:
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    net[1].weight = net[0].weight
    return net


def parameter() -> nn.Module:
    return Net(lambda self, x: F.linear(self.first(x), self.first.weight), first=nn.Linear(3, 3))


def unused() -> nn.Module:
    return Net(lambda self, x: self.first(x), first=nn.Linear(3, 3), other=nn.Linear(3, 3))


def encoder_layer() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 4, batch_first=True)


def bound(name: str) -> nn.Module:
    layer = {
        "max_norm": nn.Embedding(5, 3, max_norm=1.0),
        "bias_kv": nn.MultiheadAttention(4, 2, add_bias_kv=True),
        "activation": nn.TransformerEncoderLayer(4, 2, 4, activation=torch.sin),
    }[name]
    return nn.Sequential(layer)


L, C = nn.Linear(3, 4), nn.Conv2d(2, 4, 3)
IMAGE, ROW = torch.zeros(2, 2, 8, 8), torch.zeros(2, 3)
REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], str]] = {
    "recurrent": (lambda: inside(nn.LSTM(3, 4)), (torch.zeros(2, 5, 3),), "0.0: LSTM is not supported"),
    "prelu": (lambda: inside(nn.PReLU(), L), (ROW,), "0.1: PReLU is not supported"),
    "transposed": (lambda: inside(nn.ConvTranspose2d(2, 3, 3)), (IMAGE,), "0.0: ConvTranspose2d is not supported"),
    "grouped": (lambda: inside(nn.Conv2d(4, 4, 3, groups=2), C), (IMAGE,), "0.1: Conv2d has 2 groups"),
    "group norm": (lambda: inside(nn.GroupNorm(2, 4), C), (IMAGE,), "0.1: GroupNorm of 2 groups"),
    "norm of places": (lambda: inside(nn.LayerNorm([4, 6, 6]), C), (IMAGE,), "0.1: LayerNorm over several axes"),
    "norm across": (lambda: inside(nn.LayerNorm(6), C), (IMAGE,), "0.1: LayerNorm normalises an axis"),
    "linear across": (lambda: inside(nn.Linear(6, 2), C), (IMAGE,), "0.1: Linear mixes an axis"),
    "running": (lambda: inside(nn.BatchNorm1d(4), L), (ROW,), "0.1: BatchNorm1d would update its running statistics"),
    "max_norm": (lambda: bound("max_norm"), (), "0: Embedding with max_norm"),
    "bias_kv": (lambda: nn.Sequential(L, Net(lambda s, x: s.a(x, x, x)[0], a=bound("bias_kv")[0])),
                (torch.zeros(2, 5, 3),), "1.a: MultiheadAttention with add_bias_kv"),
    "activation": (lambda: bound("activation"), (), "0: TransformerEncoderLayer with an activation"),
    "tied": (tied, (), "1.weight: is tied to 0.weight"),
    "in two places": (parameter, (), "first.weight: forward uses this parameter in linear"),
    "twice": (lambda: Net(lambda s, x: s.first(s.first(x)), first=nn.Linear(3, 3)), (), "first: is called twice"),
    "unused": (unused, (), "other.weight: this parameter is not used"),
    "none": (nn.ReLU, (ROW,), "ReLU: has no parameters"),
    "cat": (lambda: Net(lambda s, x: torch.cat([s.a(x), s.b(x)], 1), a=nn.Linear(3, 2), b=nn.Linear(3, 2)), (),
            "Net: forward joins streams by cat"),
    "matmul": (lambda: nn.Sequential(L, Net(lambda s, x: s.a(x) @ s.b(x).T, a=nn.Linear(4, 2), b=nn.Linear(4, 2))), (),
               "1: forward joins streams by matmul"),
    "minus": (lambda: Net(lambda s, x: s.a(x) - s.b(x), a=nn.Linear(3, 2), b=nn.Linear(3, 2)), (),
              "Net: forward joins streams by sub"),
    "sliced": (lambda: Net(lambda s, x: s.b(s.a(x)[:, :2]), a=nn.Linear(3, 4), b=nn.Linear(2, 2)), (),
               "Net: getitem mixes or drops neurons"),
    "pooled": (lambda: nn.Sequential(L, nn.MaxPool1d(2), nn.Linear(2, 2)), (torch.zeros(2, 5, 3),),
               "1: MaxPool1d mixes or drops neurons"),
    "attention weights": (lambda: Net(lambda s, x: s.a(x, x, x)[1], a=nn.MultiheadAttention(4, 2)),
                          (torch.zeros(2, 5, 4),), "Net: attention weights are read"),
    "mask of heads": (lambda: Net(lambda s, x: s.a(x, torch.zeros(4, 5, 5) + x.sum()), a=encoder_layer()),
                      (torch.zeros(2, 5, 4),), "a: TransformerEncoderLayer with a mask for each head"),
    "learned mask": (lambda: Net(lambda s, x: s.a(x, s.b(x)[0]), a=encoder_layer(), b=nn.Linear(4, 5)),
                     (torch.zeros(2, 5, 4),), "a: TransformerEncoderLayer with a mask that is computed from weights"),
    "branch": (lambda: Net(lambda s, x: s.a(x) if x.sum() > 0 else x, a=nn.Linear(3, 3)), (),
               "Net: forward cannot be traced"),
    "no example": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3)), (), "Sequential: the size of its input"),
    "wrong example": (lambda: nn.Sequential(nn.Linear(3, 4)), (torch.zeros(2, 5),),
                      "Sequential: does not run on an input of shape [2, 5]"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_graph_is_refused_in_one_line(name: str) -> None:
    make, example, expected = REFUSED[name]
    with pytest.raises(UserError) as caught:
        NeuralGraph.from_module(make(), *example)
    message = str(caught.value)
    assert message.startswith(expected), message
    assert "\n" not in message and len(message) < 500


@pytest.mark.parametrize("name", ["recurrent", "tied", "unused"])
def test_what_is_supported_is_said(name: str) -> None:
    make, example, _ = REFUSED[name]
    with pytest.raises(UserError, match=r"supported are|one place for each weight"):
        NeuralGraph.from_module(make(), *example)


def test_a_module_put_in_training_mode_later_is_refused_when_it_runs() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    template = ModuleTemplate(module)
    theta = template.split(template.initial(torch.Generator())[None])
    assert template.forward(theta, torch.zeros(1, 2, 3)).shape == (1, 2, 4)
    module.train()
    with pytest.raises(UserError, match="1: BatchNorm1d would update its running statistics"):
        template.forward(theta, torch.zeros(1, 2, 3))
