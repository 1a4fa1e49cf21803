"""How far a meta_gnn step is from what the machine allows: measured time over the larger of two floors.

    python -m benchmarks.floor [--settings profiles/paper.yaml] [--seconds 2]

A step generates θ for all train intents and takes the gradient, on NEUROP_DEVICE. The floors are the time of its
multiply-adds at the rate of a large matrix product, without recomputation, and of the bytes that it must move at least
at the rate of a large copy, both measured in the same run. Activations and the number of calls are in neither.
"""

from __future__ import annotations

import argparse
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import median
from pipeline import params
from pipeline.errors import run_main
from pipeline.learners.message_passing.fused import function
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.templates import make_template
from pipeline.training import machine
from pipeline.training.run import seeded_learner

FLOAT = 4  # bytes
SIDE = 4096  # of the matrices that are multiplied and copied


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="profiles/paper.yaml")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each row")
    args = parser.parse_args(argv)
    settings, device = params.load(args.settings), machine.prepare()
    product, moved = rates(device, args.seconds)
    print(
        f"torch {torch.__version__}, {device}, {args.settings}: "
        f"{product / 1e9:.0f} G multiply-adds/s, {moved / 1e9:.1f} GB/s\n"
    )
    print("| family | mixing | G multiply-adds | MB | floor, ms: products | traffic | measured, ms | over the floor |")
    print("|---|---|---|---|---|---|---|---|")
    for family in settings.grid.families:
        for rank in (0, 8):
            learner, u = _case(settings, family, rank)
            macs, bytes_ = multiply_adds(learner, u), least_bytes(learner, u)
            learner, u = learner.to(device), u.to(device)
            taken = median(partial(step, learner, u), args.seconds, device)
            floors = 1e3 * macs / product, 1e3 * bytes_ / moved
            print(
                f"| {family} | {f'factored({rank})' if rank else 'message'} | {macs / 1e9:.3f} | {bytes_ / 1e6:.1f} | "
                f"{floors[0]:.2f} | {floors[1]:.2f} | {taken:.1f} | {taken / max(floors):.1f} |",
                flush=True,
            )


def rates(device: torch.device, seconds: float) -> tuple[float, float]:
    """Multiply-adds a second of a large matrix product, and bytes a second, read and written, of a large copy."""
    a, b = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
    out = torch.empty_like(a)
    product = median(lambda: torch.mm(a, b, out=out), seconds, device)
    copied = median(lambda: out.copy_(a), seconds, device)
    return 1e3 * SIDE**3 / product, 1e3 * 2 * FLOAT * SIDE**2 / copied


def multiply_adds(learner: MetaGnn, u: Tensor) -> float:
    """Of all matrix products of a step, counted on a CPU in plain torch, where nothing is computed twice."""
    with patch.object(function, "KEPT", 2**62), FlopCounterMode(display=False) as counter:
        step(learner.cpu(), u.cpu())
    return counter.get_total_flops() / 2


def least_bytes(learner: MetaGnn, u: Tensor) -> int:
    """What a step must read and write if only embeddings [K, T, d] go through memory, and no hidden layer.

    Each round reads the embeddings for messages, then reads and writes them for the update, as all messages come
    first; backward reads embedding and gradient and writes a gradient for each of the two. The encoders write and the
    decoders read, and backward reads, writes and reads. Parameters are read twice and their gradients written.
    """
    k = 1 if learner.rank else len(u)
    embeddings = k * (learner.graph.n_nodes + learner.graph.n_weight_edges) * learner.settings.d_h
    numbers = sum(p.numel() for p in learner.parameters())
    codes = sum(tensor.numel() for tensor in learner.state_dict().values()) - numbers
    ends = u.numel() + codes + 2 * len(u) * learner.template.n_slots
    return FLOAT * ((9 * learner.passing.k + 5) * embeddings + 3 * numbers + ends)


def step(learner: MetaGnn, u: Tensor) -> None:
    """θ of the intents, and its gradient."""
    learner.zero_grad()
    learner.slots(u).square().sum().backward()


def _case(settings: Params, family: str, rank: int) -> tuple[MetaGnn, Tensor]:
    """The learner of the settings with this mixing, and the codes of its train intents."""
    programs = make_family(settings, family)
    section = settings.learner(family, "meta_gnn").model_copy(update={"intent_rank": rank, "intent_slots": "all"})
    learner = seeded_learner("meta_gnn", programs, make_template(settings, family), section, 0)
    assert isinstance(learner, MetaGnn)
    return learner, torch.from_numpy(programs.codes(programs.intents("train")))


if __name__ == "__main__":
    run_main(main)
