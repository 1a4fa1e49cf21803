#!/usr/bin/env bash
# What a machine with a GPU is asked to do, in slices of under ten minutes; it needs neither DVC nor MLflow.
#
#   benchmarks/gpu.sh checks                whether training on the GPU is right
#   benchmarks/gpu.sh times                 times of training steps, of one seed and of ten at once
#   benchmarks/gpu.sh limits                how far meta_gnn is from what the card allows, and its cost up to 10⁷ slots
#   benchmarks/gpu.sh train MINUTES OUT     trains what params.yaml lacks, and writes OUT-1.zip … for `neurop import`
#
# `train` goes on where the last call stopped. Exit code 75: there is more to train.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python=${PYTHON:-python3}

case "${1:-} $#" in
  "checks 1")
    "$python" -m benchmarks.gpu_checks
    ;;
  "times 1")
    "$python" -m benchmarks.step_time --settings profiles/paper.yaml --seconds 1
    "$python" -m benchmarks.step_time --settings profiles/paper.yaml --seconds 1 --seeds 10
    ;;
  "limits 1")
    "$python" -m benchmarks.floor --settings profiles/paper.yaml --seconds 0.5
    "$python" -m benchmarks.slots --settings profiles/paper.yaml --seconds 0.5
    ;;
  "train 3")
    status=0
    "$python" -m pipeline train --missing --minutes "$2" || status=$?
    "$python" -m pipeline bundle "$3.zip" --new --max-mib 15 || status=$?
    exit "$status"
    ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
