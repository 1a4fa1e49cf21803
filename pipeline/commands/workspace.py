"""Commands about settings, stages, reports and records."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import params
from pipeline.commands.shared import NOT_ALL_RIGHT, few
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.report import Source


def explain(args: argparse.Namespace) -> None:
    """Print what a setting means and what depends on it."""
    from pipeline.explain import setting

    params.load()
    found = setting(args.name)
    print(f"{args.name} = {found['value']}")
    print(f"  {found['meaning']}")
    if found["comment"]:
        print(f"  {found['comment']}")
    own, behind = found["stages"], found["downstream"]
    print(
        f"  a change reruns {len(own)} stages: {few(own)}"
        if own
        else "  no stage depends on its value; it shapes the grid"
    )
    if behind:
        print(f"  and, where their inputs change, {len(behind)} behind them: {few(behind)}")


def status(args: argparse.Namespace) -> None:
    """Print the stages that are not fresh, and why."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.explain import stages

    params.load()
    rows = stages()
    table = Table("stage", "state", "why")
    for name, state, why in rows:
        if args.all or state != "fresh":
            table.add_row(name, state, why)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if table.row_count:
        console.print(table)
    counts = {state: sum(row[1] == state for row in rows) for state in ("fresh", "stale", "missing")}
    print(", ".join(f"{count} {state}" for state, count in counts.items()))


def report(args: argparse.Namespace) -> int:
    """Make a report, or compare it with what its evaluations give."""
    from pipeline.report import REPORTS, build, check

    source, output = REPORTS[args.source]
    output = args.output or output
    with _from_mlflow(args.source) if args.origin == "mlflow" else nullcontext(source()) as inputs:
        if not args.check:
            build(inputs, output)
            print(f"{output}/index.html")
            return 0
        found = check(inputs, output)
    for name in found:
        print(f"differs: {output / name}")
    print(f"{output}: {'regenerated to the same bytes' if not found else f'{len(found)} files differ'}")
    return 0 if not found else NOT_ALL_RIGHT


def _from_mlflow(name: str) -> AbstractContextManager[Source]:
    from pipeline.mirror import mirrored

    if name != "current":
        raise UserError(f"MLflow holds the runs of params.yaml; give `neurop report {name}` without --from mlflow")
    return mirrored()


def serve(args: argparse.Namespace) -> None:
    """Become an MLflow server."""
    from pipeline.tracking import serve as server

    server.serve(args.host, args.port, args.allow, args.database, args.artefacts)


def publish(args: argparse.Namespace) -> None:
    """Complete the MLflow record."""
    from pipeline.tracking import publish as complete

    complete(params.load(), Path())


def record(args: argparse.Namespace) -> None:
    """Keep evaluations of the full protocol in Git."""
    from pipeline.paper import RESULTS
    from pipeline.record import record as keep

    added = keep(params.load())
    print(f"{RESULTS}: {len(added)} runs added or replaced: {few(added)}")
