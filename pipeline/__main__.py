"""`python -m pipeline`: the command `neurop` where it is not installed."""

from pipeline.cli import script

script()
