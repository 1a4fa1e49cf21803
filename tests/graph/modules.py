"""Small networks of every supported kind, as users write them, each with a batch for one weight set."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Case = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


class Block(nn.Module):
    """ResNet's basic block; batch statistics, because K weight sets share no running ones."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o, track_running_stats=False)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o, track_running_stats=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1:
            shortcut = nn.Conv2d(i, o, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(o, track_running_stats=False))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.layer1, self.layer2 = Block(4, 4, 1), Block(4, 6, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.layer2(self.layer1(self.stem(x))))
        return self.fc(x.view(x.size(0), -1))


class ResidualMlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm = nn.Linear(3, 5), nn.LayerNorm(5)
        self.wide, self.narrow, self.leave = nn.Linear(5, 7), nn.Linear(7, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(x + self.narrow(F.gelu(self.wide(self.norm(x)))))


class Gated(nn.Module):
    """A gate, a scale for each example, and inputs that are added to a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.gate, self.down = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4)
        self.norm, self.out = nn.RMSNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(self.up(x) * torch.sigmoid(self.gate(x))) * 0.5
        return self.out(self.norm(h + x) * x.mean(-1, keepdim=True))


class Convolution1d(nn.Module):
    """Depthwise and pointwise convolutions over a sequence, features last outside, and a flatten of places first."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(2, 4)
        self.depthwise, self.pointwise = nn.Conv1d(4, 4, 3, groups=4), nn.Conv1d(4, 5, 1)
        self.norm, self.out = nn.GroupNorm(1, 5), nn.Linear(15, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.enter(x)).transpose(1, 2)
        h = F.max_pool1d(torch.tanh(self.norm(self.pointwise(self.depthwise(h)))), 2)
        return self.out(h.permute(0, 2, 1).flatten(1))


class Tokens(nn.Module):
    """Tokens, positions by embedding and by a parameter, a fixed code, an encoder layer, the last place."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(7, 8), nn.Embedding(5, 8)
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.encoder, self.head = layer, nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places(torch.arange(x.shape[1], device=x.device))
        return self.head(self.encoder(h + self.position)[:, -1])


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.attention = nn.Linear(3, 4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.leave = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        out, _ = self.attention(h, value=h, key=h, need_weights=False, attn_mask=later)
        return self.leave(h + out)


def cnn() -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers = [nn.Conv2d(2, 3, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.Tanh(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 3)), (torch.randn(6, 2, 8, 8),)


def encoder(norm_first: bool) -> tuple[nn.Module, tuple[Tensor, ...]]:
    layer = nn.TransformerEncoderLayer(8, 2, 9, 0.0, "gelu", batch_first=True, norm_first=norm_first)
    return Tokens(layer), (torch.randint(0, 7, (6, 5)),)


def stack() -> tuple[nn.Module, tuple[Tensor, ...]]:
    layer = nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True)
    layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(4), enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(3, 4), layers, nn.Linear(4, 2)), (torch.randn(6, 5, 3),)


def statistics() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Running statistics tell the channels of one norm apart, and those of the other are as at the start."""
    told_apart, alike = nn.BatchNorm1d(5), nn.BatchNorm1d(4)
    told_apart.running_mean = torch.arange(5.0)
    layers = [nn.Linear(3, 5), told_apart, nn.Tanh(), nn.Linear(5, 4), alike, nn.Tanh(), nn.Linear(4, 2)]
    return nn.Sequential(*layers).eval(), (torch.randn(6, 3),)


CASES: dict[str, Case] = {
    "mlp": lambda: (nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), (torch.randn(20, 3),)),
    "one layer": lambda: (nn.Linear(3, 2), (torch.randn(6, 3),)),
    "cnn": cnn,
    "conv1d": lambda: (Convolution1d(), (torch.randn(6, 8, 2),)),
    "resnet": lambda: (ResNet(), (torch.randn(6, 2, 6, 6),)),
    "residual mlp": lambda: (ResidualMlp(), (torch.randn(6, 3),)),
    "gated mlp": lambda: (Gated(), (torch.randn(6, 4),)),
    "batch statistics": statistics,
    "encoder, norm last": lambda: encoder(False),
    "encoder, norm first": lambda: encoder(True),
    "encoder stack": stack,
    "attention": lambda: (SelfAttention(), (torch.randn(6, 5, 3),)),
    "attention alone": lambda: (
        nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True),
        (torch.randn(6, 5, 4), torch.randn(6, 7, 3), torch.randn(6, 7, 5)),
    ),
}
