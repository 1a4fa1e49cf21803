"""DVC stage generate@family: the examples of all splits, and their counts as a metric."""

from __future__ import annotations

from pathlib import Path

from pipeline import params
from pipeline.errors import run_main
from pipeline.files import replacing_directory, write_json
from pipeline.programs import make_family
from pipeline.programs.tables import summary, write_splits
from stages import arguments


def main(argv: list[str]) -> None:
    (name,) = arguments(argv, "generate", "FAMILY")
    splits = make_family(params.load(), name).generate()
    with replacing_directory(Path("data/splits") / name) as directory:
        write_splits(directory, splits)
    write_json(Path("data/metrics/splits") / f"{name}.json", summary(splits))


if __name__ == "__main__":
    run_main(main)
