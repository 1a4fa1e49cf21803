"""What DVC and `neurop flow` cost beside the work: grids of 50, 150 and 300 stages that do nothing.

Prints a Markdown table. `dvc repro` and `neurop flow` run a grid from nothing, then with nothing to do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.flows.repair import keep_in_memory

ROOT = Path(__file__).parents[1]
STAGES = """
stages:
  generate:
    cmd: mkdir -p data && echo 1 > data/x
    outs: [data]
  train:
    matrix:
      family: [toy]
      learner: [m]
      seed: ${seeds}
    cmd: mkdir -p runs/${item.seed} && echo ${item.seed} > runs/${item.seed}/x
    deps: [data]
    outs:
      - runs/${item.seed}
  report:
    cmd: cat runs/*/x > report
    deps: [runs]
    outs: [report]
"""


def project(root: Path, stages: int) -> None:
    """A DVC project of so many stages."""
    root.mkdir()
    (root / "dvc.yaml").write_text(STAGES)
    (root / "params.yaml").write_text(f"seeds: {list(range(stages - 2))}\n")
    call(root, "git", "init", "-q")
    call(root, sys.executable, "-m", "dvc", "init", "-q")
    keep_in_memory(root)  # as `make` and a flow do


def call(root: Path, *command: str) -> float:
    """Run a command; returns its seconds."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "NEUROP_DEVICE": "cpu", "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def flow(root: Path) -> float:
    """Seconds of a flow, with two places for stages that train."""
    program = (
        "from pathlib import Path; from pipeline.flows.environment import prepare; prepare()\n"
        "from pipeline.flows.prepared import prepared; from pipeline.flows.flow import reproduce\n"
        "work = prepared(Path(), [], 2)\n"
        "assert not work.planned or reproduce(work).finished"
    )
    return call(root, sys.executable, "-c", program)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, nargs="+", default=[50, 150, 300])
    repro = (sys.executable, "-m", "dvc", "repro", "-q")
    print("| stages | `dvc repro`, s a stage | nothing to do, s | `neurop flow`, s a stage | nothing to do, s |")
    print("|---|---|---|---|---|")
    for stages in parser.parse_args().stages:
        with tempfile.TemporaryDirectory() as folder:
            one, other = Path(folder, "repro"), Path(folder, "flow")
            project(one, stages)
            project(other, stages)
            flow_all = flow(other) / stages
            flow_none = min(flow(other) for _ in range(3))
            all_of_it = call(one, *repro) / stages
            none = min(call(one, *repro) for _ in range(3))
        print(f"| {stages} | {all_of_it:.2f} | {none:.2f} | {flow_all:.2f} | {flow_none:.2f} |", flush=True)


if __name__ == "__main__":
    main()
