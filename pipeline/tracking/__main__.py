"""`python -m pipeline.tracking publish`; and `follow`, which training starts for itself."""

from __future__ import annotations

from pipeline.errors import UserError, run_main


def main(argv: list[str]) -> None:
    """Run one of the two commands."""
    match argv:
        case ["publish"]:
            from pipeline import params, tracking

            tracking.publish(params.load())
        case ["follow"]:
            from pipeline.tracking import stream

            stream.follow()
        case _:
            raise UserError("give `publish`; it brings MLflow up to date with the outputs of `dvc repro`")


if __name__ == "__main__":
    run_main(main)
