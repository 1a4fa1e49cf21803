"""Written weights: those of the learner, and the same bytes whatever kernels the processor has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from pipeline.learners import MetaLearner
from pipeline.params import Params
from pipeline.synthesis import written
from tests.helpers import ROOT, make

# With PyTorch's plain kernels, and NumPy's: what an older processor would run.
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "DNNL_MAX_CPU_ISA": "SSE41"}
DIGESTS = """
import hashlib, sys
from pathlib import Path
import torch
from pipeline.synthesis import written
from pipeline.training.run import load_run

def digest(theta):
    return hashlib.sha256(b"".join(theta[name].detach().numpy().tobytes() for name in sorted(theta))).hexdigest()

learner, _ = load_run(Path(sys.argv[1]))
intents = learner.family.all_intents()
print(digest(written(learner, intents)))
print(digest(learner.generate(torch.from_numpy(learner.family.codes(intents)))))
"""


@pytest.mark.parametrize("learner", ["meta_mlp", "meta_gmlp", "meta_gmlp_mx", "meta_gnn"])
def test_the_written_weights_are_those_of_the_learner(params: Params, learner: str) -> None:
    meta = make(params, "addmod", learner, 0)
    assert isinstance(meta, MetaLearner)
    before = {name: value.clone() for name, value in meta.state_dict().items()}
    intents = meta.family.all_intents()
    theta = written(meta, intents)
    expected = meta.generate(torch.from_numpy(meta.family.codes(intents)))
    assert set(theta) == set(expected)
    for name, value in theta.items():
        assert value.dtype == torch.float32
        assert not value.requires_grad
        torch.testing.assert_close(value, expected[name].detach(), rtol=1e-4, atol=1e-5)
    for name, value in meta.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("learner", ["meta_mlp", "meta_gnn"])
def test_every_processor_writes_the_same_weights(learner: str) -> None:
    ours, plain = (_digests(learner, kernels) for kernels in ({}, PLAIN))
    assert ours[0] == plain[0]
    if ours[1] == plain[1]:
        pytest.skip("this processor has the plain kernels only: nothing was compared")


def _digests(learner: str, kernels: dict[str, str]) -> list[str]:
    """Of addmod's kept weights: of what is `written`, and of what is generated in single precision."""
    command = [sys.executable, "-c", DIGESTS, f"results/paper/weights/addmod/{learner}"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | kernels, capture_output=True, text=True, check=True)
    return done.stdout.split()
