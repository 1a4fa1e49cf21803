"""DVC stages report and report_paper: tables, figures and the page that shows them."""

from __future__ import annotations

from pipeline.errors import UserError, run_main
from pipeline.report import REPORTS, build


def main(argv: list[str]) -> None:
    if len(argv) != 1 or argv[0] not in REPORTS:
        raise UserError(f"'{' '.join(argv)}' is not a report; run `python -m stages.report current` or `… paper`")
    source, output = REPORTS[argv[0]]
    build(source(), output)


if __name__ == "__main__":
    run_main(main)
