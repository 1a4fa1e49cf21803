"""A training step as one CUDA graph: recorded once, replayed at the cost of one launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Libraries choose kernels and allocate workspaces in their first calls, which a recording must not meet.
WARM_UPS = 3


@torch.no_grad()
def warm_up(function: Callable[[], None], changed: Sequence[Tensor]) -> None:
    """Call the function a few times, then put back `changed`, the tensors that it changes, to the bit."""
    before = [tensor.clone() for tensor in changed]
    with torch.enable_grad():
        for _ in range(WARM_UPS):
            function()
    for tensor, value in zip(changed, before, strict=True):
        tensor.copy_(value)


def captured(function: Callable[[], None], changed: Sequence[Tensor], device: torch.device) -> Callable[[], None]:
    """The function as a CUDA graph that does what it does, on the same tensors.

    Args:
        function: works on tensors that stay in their place, and never waits for the device.
        changed: all tensors that outlive a call and that it changes; they are left as they were.
    """
    with torch.cuda.device(device):
        # As PyTorch's notes on CUDA graphs ask: the first calls on a stream of their own.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            warm_up(function, changed)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
    return graph.replay
