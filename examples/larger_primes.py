"""addmod for primes beyond the training range: one trained learner writes templates with more tokens.

    python -m examples.larger_primes [data/runs/addmod/meta_gnn/0] [--primes 101 103 107]

The run must have been trained with relational codes and without coordinates (`profiles/relational.yaml`): nothing in
such a learner counts the tokens. Every pair of every prime is tried.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pipeline.errors import UserError, run_main
from pipeline.learners import MetaLearner
from pipeline.learners.wider import wider
from pipeline.programs import Intent
from pipeline.training.run import load_run

BEYOND = [p for p in range(101, 200) if all(p % q for q in range(2, 15))]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", default="data/runs/addmod/meta_gnn/0", type=Path)
    parser.add_argument("--primes", nargs="+", type=int, default=BEYOND, metavar="P")
    args = parser.parse_args(argv)
    composite = [p for p in args.primes if p < 2 or any(p % q == 0 for q in range(2, int(p**0.5) + 1))]
    if composite:
        raise UserError(f"--primes holds {composite[0]}, which is not a prime")
    learner, config = load_run(args.run)
    if config["family"] != "addmod" or not isinstance(learner, MetaLearner):
        raise UserError(f"{args.run} is {config['learner']} on {config['family']}; give a meta-learner's run on addmod")
    trained = config["template"]["d_vocab"]
    learner = wider(learner, max(trained, *args.primes))
    print(f"trained on primes up to {trained}; vocabulary now {learner.template.tensors[0].shape[0]}\n")
    print("| p | pairs solved | of |\n|---|---|---|")
    shares = []
    for p in args.primes:
        solved = int(_solved(learner, p).sum())
        shares.append(solved / p**2)
        print(f"| {p} | {solved / p**2:.4f} | {p**2:,} |", flush=True)
    print(f"\nmean over primes {sum(shares) / len(shares):.4f}, {sum(share == 1 for share in shares)} without an error")


@torch.no_grad()
def _solved(learner: MetaLearner, p: int) -> torch.Tensor:
    """Whether each of the p² pairs is solved."""
    token = torch.arange(p)
    x = torch.cartesian_prod(token, token)[None]  # [1, p², 2]
    y = x.sum(-1, keepdim=True) % p
    u = torch.from_numpy(learner.family.codes((Intent("p", p),)))
    return learner.family.solved(learner(u, x, y), y)


if __name__ == "__main__":
    run_main(main)
