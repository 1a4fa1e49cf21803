"""The command `neurop`: programs from intents, and what there is to know about settings and runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from pipeline import params
from pipeline.command_line import Parser, count, duration, seed
from pipeline.commands import programs, runs, workspace
from pipeline.errors import run_main


def _choice(made: argparse.ArgumentParser) -> None:
    """The arguments that `_chosen` reads."""
    made.add_argument("--learner", help="default: the meta-learner with the best val accuracy")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--seed", type=seed, help="default: the seed with the best val accuracy")
    which.add_argument(
        "--kept", action="store_true", help="use the full protocol's weights in results/paper/, not your runs'"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(prog="neurop", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name: str, action: Callable[[argparse.Namespace], int | None], about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(action=action)
        return made

    made = command("synthesize", programs.synthesize, "write the program of an intent with a trained meta-learner")
    made.add_argument("family", choices=params.FAMILIES)
    made.add_argument("intent", help="addmod: p; sumfirst: n; arc1d: fill, flip, hollow, move_right:D, recolor_bar:C")
    made.add_argument("-o", "--output", type=Path, help="file to write (default: FAMILY-INTENT.safetensors)")
    _choice(made)

    made = command("run", programs.run, "run a program on one input")
    made.add_argument("file", type=Path)
    made.add_argument("input", nargs="+", help="addmod: a b; sumfirst: ten integers; arc1d: a row of digits")

    made = command("verify", programs.verify, "check a program: every input where that is possible, else fresh ones")
    made.add_argument("file", type=Path)
    made.add_argument("--seed", type=seed, default=0, help="of the fresh inputs")

    made = command("analyze", programs.analyze, "say what a trained run learned: mechanism, closed form, certificates")
    made.add_argument("family", choices=params.FAMILIES)
    made.add_argument("-o", "--output", type=Path, help="a new directory for tables and figures")
    _choice(made)

    made = command("graph", programs.graph, "draw the neural graph of a family's template")
    made.add_argument("family", choices=params.FAMILIES)
    made.add_argument("-o", "--output", type=Path, help="file to write (default: FAMILY.svg)")

    made = command("params", workspace.explain, "explain a setting and what reruns when it changes")
    made.add_argument("name", help="dotted, such as learners.addmod.meta_mlp.learning_rate")

    made = command("status", workspace.status, "which runs exist, which are stale, and why")
    made.add_argument("--all", action="store_true", help="list fresh stages too")

    made = command("train", runs.train, "train the missing runs of params.yaml, most wanted first, without DVC")
    made.add_argument("--missing", action="store_true", required=True, help="what to train; there is no other choice")
    made.add_argument("--minutes", type=duration, help="stop then, with a checkpoint (default: when all is trained)")
    made.add_argument(
        "--only", action="append", default=[], metavar="RECIPE", help="such as addmod-meta_mlp; repeatable"
    )
    made.add_argument("--dry-run", action="store_true", help="list them in their order and train nothing")

    made = command("flow", runs.flow, "run what is stale side by side, as a Prefect flow")
    made.add_argument("targets", nargs="*", help="stages or groups, such as evaluate (default: all)")
    made.add_argument("--workers", type=count, help="training stages at a time without a GPU (default: one a core)")
    made.add_argument("--per-device", type=count, default=1, help="training stages that may share one GPU")
    made.add_argument("--pool", help="train on the workers of this Prefect work pool, not here")
    made.add_argument("--retries", type=int, choices=range(4), default=2, help="of a stage that crashed")
    made.add_argument("--dry-run", action="store_true", help="list the stages in their order and run nothing")

    made = command("worker", runs.worker, "take stages of a Prefect work pool, on this machine's devices")
    made.add_argument("pool", help="such as h100: a pool for each type of device")
    made.add_argument("--name", help="of this machine in the pool (default: its host name)")
    made.add_argument("--per-device", type=count, default=1, help="stages that may share one GPU")
    made.add_argument("--workers", type=count, help="stages at a time without a GPU (default: one a core)")

    made = command("head", runs.head, "take the flows that are scheduled, on this machine")
    made.add_argument("--name", help="of this machine (default: its host name)")

    made = command("deploy", runs.deploy, "register what prefect.yaml schedules on the Prefect server")
    made.add_argument("names", nargs="*", help="deployments, such as nightly (default: all)")
    made.add_argument("--pool", help="the work pool whose workers train (default: as prefect.yaml says)")
    made.add_argument("--paused", action="store_true", help="schedules wait until they are resumed in the UI")

    made = command("bundle", runs.bundle, "write finished runs and checkpoints into a file for another machine")
    made.add_argument("output", type=Path, help="such as out.zip")
    made.add_argument("--only", action="append", default=[], metavar="NAME", help="a recipe such as addmod-meta_mlp")
    made.add_argument("--max-mib", type=duration, help="write out-1.zip, out-2.zip, … no larger than this")
    made.add_argument("--new", action="store_true", help="only what no earlier bundle of this directory holds")

    made = command("import", runs.bring, "take over runs of bundles, checked, so that dvc repro does not train them")
    made.add_argument("files", type=Path, nargs="+", help="bundles; all parts of a pack at once")
    made.add_argument("--replace", action="store_true", help="runs that are here with other bytes, too")

    made = command("report", workspace.report, "make the report from the evaluations")
    made.add_argument("source", nargs="?", default="current", choices=("current", "paper"))
    made.add_argument("--check", action="store_true", help="regenerate and compare every byte, writing nothing")
    made.add_argument("--from", dest="origin", default="dvc", choices=("dvc", "mlflow"), help="where evaluations are")
    made.add_argument("-o", "--output", type=Path, help="directory (default: reports or results/paper/report)")

    command("record", workspace.record, "keep evaluations made under profiles/paper.yaml in results/paper/, in Git")

    command("publish", workspace.publish, "complete the MLflow record from the outputs")

    made = command("serve", workspace.serve, "start an MLflow server, on this machine alone unless told otherwise")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on")
    made.add_argument("--port", type=int, default=5000)
    made.add_argument("--allow", action="append", default=[], metavar="HOST:PORT", help="what others reach it as")
    made.add_argument("--database", default="sqlite:///mlflow.db", help="SQLite, or postgresql://USER@HOST/NAME")
    made.add_argument("--artefacts", default="mlartifacts", help="a folder, or s3://BUCKET/FOLDER")
    return top


def main(argv: list[str]) -> int | None:
    """Run one command; returns its exit code."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    args = parser().parse_args(argv)
    code: int | None = args.action(args)
    return code


def script() -> None:
    """Entry point of the installed command."""
    run_main(main)
