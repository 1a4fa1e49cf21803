"""DVC stage analyze_paper: the same of the weights of the full protocol that are kept in Git."""

from __future__ import annotations

from pipeline.analysis.analyse import analyse_family
from pipeline.errors import UserError, run_main
from pipeline.files import replacing_directory
from pipeline.kept import kept_runs
from pipeline.paper import RESULTS
from pipeline.training import machine


def main(argv: list[str]) -> None:
    if argv:
        raise UserError(f"stages.analyze_paper takes no arguments, not '{' '.join(argv)}'")
    machine.prepare()
    with replacing_directory(RESULTS / "analyses") as directory:
        for family, best in kept_runs().items():
            analyse_family(best, list(best.values()), directory / family)


if __name__ == "__main__":
    run_main(main)
