"""Every learner on every family: shapes, gradients, what an output may depend on, equations written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.learners import Learner, MetaLearner
from pipeline.params import FAMILIES, LEARNERS, Params
from pipeline.programs import make_family
from tests.helpers import codes, inputs, make, tiny

DIRECT = [name for name in LEARNERS if name.startswith("direct_")]
META = [name for name in LEARNERS if name.startswith("meta_")]
families = pytest.mark.parametrize("family", FAMILIES)


def calibrated(params: Params, family: str, learner: str) -> tuple[Learner, Tensor, Tensor, Tensor]:
    """A learner as training starts it, with intent codes, inputs and answers."""
    made, program = make(params, family, learner), make_family(params, family)
    made.calibrate(codes(program), torch.Generator().manual_seed(1))
    x, y = inputs(program, 4)
    return made, codes(program), x, y


def other(y: Tensor) -> Tensor:
    """Answers that differ everywhere."""
    return (y + 1) % 3


@families
@pytest.mark.parametrize("learner", LEARNERS)
def test_outputs_and_gradients(params: Params, family: str, learner: str) -> None:
    made, u, x, y = calibrated(params, family, learner)
    program, (k, n, m) = made.family, y.shape
    output = made(u, x, y)
    assert output.shape == ((k, n, m) if program.vocabulary is None else (k, n, m, program.vocabulary))
    loss = program.loss(output, y)
    assert loss.shape == (k, n)
    loss.mean().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    moved = [name for name, parameter in made.named_parameters() if parameter.grad is not None and parameter.grad.any()]
    assert len(moved) > 0.8 * len(list(made.parameters()))


@families
@pytest.mark.parametrize("learner", LEARNERS)
def test_programs_of_intents_do_not_mix(params: Params, family: str, learner: str) -> None:
    made, u, x, y = calibrated(params, family, learner)
    together = made(u, x, y).detach()
    apart = torch.cat([made(u[i : i + 1], x[i : i + 1], y[i : i + 1]) for i in range(len(u))]).detach()
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)
    one = torch.cat([made(u, x[:, [i]], y[:, [i]]) for i in range(x.shape[1])], 1).detach()
    torch.testing.assert_close(together, one, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made(u.flip(0), x, y), together, rtol=1e-4, atol=1e-4)


@families
@pytest.mark.parametrize("learner", DIRECT)
def test_direct_learners_never_read_the_answer(params: Params, family: str, learner: str) -> None:
    made, u, x, y = calibrated(params, family, learner)
    before = made(u, x, y)
    assert torch.equal(made(u, x, other(y)), before)
    assert not torch.equal(made(u, x.roll(1, 1), y), before)
    assert not torch.equal(made(u.roll(1, 0), x, y), before)


@families
@pytest.mark.parametrize("learner", META)
def test_meta_learners_read_only_earlier_answers(params: Params, family: str, learner: str) -> None:
    made, u, x, y = calibrated(params, family, learner)
    program = made.bind(u)
    before, m = program(x, y), y.shape[-1]
    for place in range(m):
        changed = torch.where(torch.arange(m) >= place, other(y), y)
        after = program(x, changed)
        torch.testing.assert_close(after[:, :, : place + 1], before[:, :, : place + 1], rtol=0, atol=1e-6)
        if place + 1 < m:  # teacher forcing is read where it may be
            assert not torch.allclose(after[:, :, place + 1 :], before[:, :, place + 1 :], rtol=0, atol=1e-6)


@families
@pytest.mark.parametrize("learner", META)
def test_generated_weights_fit_the_template_and_run_in_it(params: Params, family: str, learner: str) -> None:
    made, u, x, y = calibrated(params, family, learner)
    assert isinstance(made, MetaLearner)
    theta = made.generate(u)
    made.template.check(theta, "generated")
    assert torch.equal(made.template.flatten(theta), made.slots(u))
    assert made.slots(u).shape == (len(u), made.template.n_slots)
    by_hand = made.template.forward(theta, made.family.template_input(x, y))
    assert torch.equal(made(u, x, y), by_hand)
    spread = made.slots(u).std(0)
    assert (spread > 0).float().mean() > 0.9  # θ depends on the intent


def run(network: nn.Sequential, h: Tensor) -> Tensor:
    """An MLP with SiLU, layer by layer."""
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    for layer in linears[:-1]:
        h = F.silu(h @ layer.weight.T + layer.bias)
    return h @ linears[-1].weight.T + linears[-1].bias


def slowest_waves(made: Learner, theta: Tensor, waves: int | None, scale: str = "linear") -> Tensor:
    """Of what a last layer writes [K, T], the slowest waves along the axes of tokens or places, or their logarithm."""
    tensors, pieces = made.template.tensors, []
    for tensor, piece in zip(tensors, theta.split([t.n_slots for t in tensors], 1), strict=True):
        value = piece.detach().unflatten(1, tuple(axis.size for axis in tensor.axes)).numpy()
        for i, axis in enumerate(tensor.axes, 1):
            if axis.unit is not None and waves is not None and scale == "log":
                place = np.log1p((np.arange(axis.size) + 0.5) / 10) / np.log1p(axis.size / 10)
                basis = np.cos(np.pi * np.arange(waves) * place[:, None])
                rows = np.moveaxis(value, i, 0).reshape(axis.size, -1)
                fitted = basis @ np.linalg.lstsq(basis, rows, rcond=None)[0]
                value = np.moveaxis(fitted.reshape(axis.size, *np.delete(value.shape, i)), 0, i)
            elif axis.unit is not None and waves is not None:
                spectrum = scipy.fft.dct(value, axis=i)
                spectrum[(slice(None),) * i + (slice(waves, None),)] = 0
                value = scipy.fft.idct(spectrum, axis=i)
        pieces.append(torch.as_tensor(value).flatten(1))
    return torch.cat(pieces, 1)


def read_by(params: Params, family: str, learner: str, u: Tensor) -> Tensor:
    """Intent codes on the learner's scale."""
    return 1 + u.log() / 1.5 if params.learner(family, learner).scale == "log" else u


@families
def test_meta_mlp_is_one_mlp(params: Params, family: str) -> None:
    made, u, _, _ = calibrated(params, family, "meta_mlp")
    section, read = params.learner(family, "meta_mlp"), read_by(params, family, "meta_mlp", u)
    by_hand = slowest_waves(made, run(made.network, read), section.bandwidth, section.scale)
    torch.testing.assert_close(made.slots(u), by_hand.to(u.dtype), rtol=1e-4, atol=1e-5)


@families
def test_meta_gmlp_is_group_tied_mlps_then_a_mixer(params: Params, family: str) -> None:
    made, u, _, _ = calibrated(params, family, "meta_gmlp")
    section, rows = params.learner(family, "meta_gmlp"), []
    for intent in read_by(params, family, "meta_gmlp", u):
        h = [
            run(
                nn.Sequential(group.first, *group.rest),
                torch.cat([intent.expand(len(group.codes), -1), group.codes], 1),
            )
            for group in made.groups
        ]
        rows.append(run(made.mixer, torch.cat(h).flatten()))
    by_hand = slowest_waves(made, torch.stack(rows), section.bandwidth, section.scale).to(u.dtype)
    torch.testing.assert_close(made.slots(u), by_hand + getattr(made, "theta0", 0), rtol=1e-4, atol=1e-5)


@families
def test_meta_gmlp_mx_is_group_tied_mlps(params: Params, family: str) -> None:
    made, u, _, _ = calibrated(params, family, "meta_gmlp_mx")
    start = 0
    for tensor, group in zip(made.template.tensors, made.groups, strict=True):
        piece = made.slots(u)[:, start : start + tensor.n_slots]
        if hasattr(made, "theta0"):
            piece = piece - made.theta0[start : start + tensor.n_slots]
        for k, intent in enumerate(read_by(params, family, "meta_gmlp_mx", u)):
            code = torch.cat([intent.expand(len(group.codes), -1), group.codes], 1)
            by_hand = run(nn.Sequential(group.first, *group.rest), code)[:, 0]
            torch.testing.assert_close(piece[k], by_hand, rtol=1e-4, atol=1e-5)
        start += tensor.n_slots
    assert start == made.template.n_slots


@families
def test_direct_mlp_reads_intent_and_one_hot_input(family: str) -> None:
    made, u, x, y = calibrated(tiny({f"learners.{family}.direct_mlp.activation": "silu"}), family, "direct_mlp")
    v, output = made.family.vocabulary, made(u, x, y)
    for k in range(len(u)):
        for i in range(x.shape[1]):
            cells = [torch.eye(v)[cell] for cell in x[k, i]] if v else [x[k, i].float()]
            by_hand = run(made.network, torch.cat([u[k], *cells]))
            torch.testing.assert_close(output[k, i].flatten(), by_hand, rtol=1e-4, atol=1e-5)


def encode(layer: nn.TransformerEncoderLayer, h: Tensor) -> Tensor:
    """A pre-norm encoder layer on one sequence [s, d], head by head."""
    d, n_heads = h.shape[1], layer.self_attn.num_heads
    normed = F.layer_norm(h, (d,), layer.norm1.weight, layer.norm1.bias)
    q, k, v = (normed @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).split(d, 1)
    mixed = []
    for part in range(n_heads):
        a, b, c = (t[:, part * d // n_heads : (part + 1) * d // n_heads] for t in (q, k, v))
        mixed.append((a @ b.T * (d / n_heads) ** -0.5).softmax(-1) @ c)
    h = h + layer.self_attn.out_proj(torch.cat(mixed, 1))
    return h + layer.linear2(F.relu(layer.linear1(F.layer_norm(h, (d,), layer.norm2.weight, layer.norm2.bias))))


@families
def test_direct_transformer_encodes_the_intent_as_one_more_token(params: Params, family: str) -> None:
    made, u, x, y = calibrated(params, family, "direct_transformer")
    output = made(u, x, y)
    for k in range(len(u)):
        for i in range(x.shape[1]):
            row = x[k, i]
            tokens = made.embed.weight[row] if made.family.vocabulary else made.embed(row.float()[:, None])
            stream = torch.cat([made.intent(u[k])[None], tokens + made.position])
            for layer in made.encoder.layers:
                stream = encode(layer, stream)
            stream = made.encoder.norm(stream)
            read = stream[1:] if family == "arc1d" else stream[0]
            torch.testing.assert_close(output[k, i].flatten(), made.read_out(read).flatten(), rtol=1e-3, atol=1e-4)
