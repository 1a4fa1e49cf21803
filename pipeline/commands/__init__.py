"""What the commands of `neurop` do; `pipeline/cli.py` has their arguments."""
