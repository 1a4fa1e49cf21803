"""Operations without parameters, by name as a function or method has it: what each does to a stream's neurons."""

from __future__ import annotations

from torch import nn

# Each neuron by itself, or all alike.
ELEMENTWISE = {
    "relu", "relu_", "relu6", "leaky_relu", "gelu", "silu", "mish", "elu", "selu", "celu", "softplus", "softsign",
    "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "logsigmoid", "softmax", "log_softmax",
    "exp", "abs", "neg", "square", "sqrt", "sin", "cos", "clamp", "clone", "contiguous", "detach", "float", "double",
    "to", "dropout", "dropout1d", "dropout2d", "alpha_dropout",
}  # fmt: skip
# Places behind the channels of axis 1; the digit counts their axes.
POOLING = {f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)}
POOLING |= {"interpolate"}
# The numbers stay in row-major order.
RESHAPING = {"flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze"}
# Axes are moved, dropped or shortened.
FOLLOWED = {
    "permute", "transpose", "swapaxes", "movedim", "mean", "sum", "amax", "amin", "getitem",
    "getattr", "select", "narrow",
}  # fmt: skip
# Two operands, numbers or tensors.
ARITHMETIC = {
    **dict.fromkeys(("add", "iadd", "add_"), "add"),
    **dict.fromkeys(("mul", "imul", "mul_"), "multiply"),
    **dict.fromkeys(("sub", "isub", "truediv", "div", "pow"), "other"),
}

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.CELU, nn.Softplus, nn.Softsign,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Softmax, nn.LogSoftmax,
)  # fmt: skip
# Layers without parameters, each with a function that treats neurons in the same way.
PLAIN_LAYERS: dict[type[nn.Module], str] = {
    nn.Identity: "clone",
    **dict.fromkeys(_ACTIVATIONS, "relu"),
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout), "dropout"),
    **dict.fromkeys((nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), "max_pool1d"),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), "max_pool2d"),
    **dict.fromkeys((nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d), "max_pool3d"),
    **dict.fromkeys((nn.Flatten, nn.Unflatten), "flatten"),
    nn.Upsample: "interpolate",
}
