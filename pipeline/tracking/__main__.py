"""`python -m pipeline.tracking publish`; and `follow STUDY NAME SEED`, which training starts for itself."""

from __future__ import annotations

from pipeline.errors import UserError, run_main


def main(argv: list[str]) -> None:
    """Run one of the two commands."""
    match argv:
        case ["publish"]:
            from pipeline import params, tracking

            tracking.publish(params.load())
        case ["follow", study, name, seed]:
            from pipeline.tracking import stream

            stream.follow(f"{study}/{name}/{seed}")
        case _:
            raise UserError("give `publish`; it brings MLflow up to date with the outputs of `dvc repro`")


if __name__ == "__main__":
    run_main(main)
