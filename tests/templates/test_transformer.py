"""The Transformer template against plain modules, causality, and greedy decoding with its cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from pipeline.templates import Transformer, TransformerConfig, make_template
from tests.helpers import paper, random_theta
from tests.templates.plain import PlainTransformer, assert_close, gradients

ADDMOD, ARC1D = (make_template(paper(), family).config for family in ("addmod", "arc1d"))  # type: ignore[attr-defined]
SMALL = replace(ARC1D, d_vocab=5, n_ctx=12, n_out=6, d_model=8, n_heads=2, d_mlp=10)
CONFIGS = {
    "addmod": ADDMOD,
    "arc1d": ARC1D,
    "small": SMALL,
    "one head": replace(SMALL, n_heads=1),
    "eight heads": replace(SMALL, n_heads=8),
    "all options": replace(SMALL, attention_bias=True),
    "no options": replace(SMALL, positional=False, output_projection=False),
    "one prediction": replace(SMALL, n_out=1),
    "all predictions": replace(SMALL, n_out=12),
}


def tokens(config: TransformerConfig, k: int, n: int) -> Tensor:
    return torch.randint(config.d_vocab, (k, n, config.n_ctx))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_k_weight_sets_are_k_modules(config: TransformerConfig, dtype: torch.dtype, tolerance: float) -> None:
    template, k, n = Transformer(config), 3, 4
    theta, x = random_theta(template, k, dtype), tokens(config, k, n)
    batched = template.forward(theta, x)
    plain = PlainTransformer(config).to(dtype)
    apart = torch.stack([functional_call(plain, plain.state(theta, i), (x[i],)) for i in range(k)])
    apart = apart[:, :, -config.n_out :]
    assert batched.shape == (k, n, config.n_out, config.d_vocab)
    assert_close({"logits": batched}, {"logits": apart}, tolerance)
    assert_close(gradients(batched, theta), gradients(apart, theta), tolerance)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_shorter_sequence_is_read_from_the_first_position(config: TransformerConfig) -> None:
    template, length = Transformer(config), max(config.n_out, config.n_ctx - 1)
    theta, x = random_theta(template, 2), tokens(config, 2, 3)[..., :length]
    plain = PlainTransformer(config)
    apart = torch.stack([functional_call(plain, plain.state(theta, i), (x[i],)) for i in range(2)])
    assert_close({"logits": template.forward(theta, x)}, {"logits": apart[:, :, -config.n_out :]}, 1e-5)


@pytest.mark.parametrize("name", ["small", "all options", "no options", "all predictions"])
def test_no_prediction_depends_on_a_later_token(name: str) -> None:
    config = CONFIGS[name]
    template, first = Transformer(config), config.n_ctx - config.n_out
    theta, x = random_theta(template, 2, torch.float64), tokens(config, 2, 3)
    before = template.forward(theta, x).detach()
    for place in range(config.n_ctx):
        other = x.clone()
        other[..., place] = (other[..., place] + 1) % config.d_vocab
        change = (template.forward(theta, other).detach() - before).abs().amax((0, 1, 3))  # [m]
        for m in range(config.n_out):
            assert (change[m] > 1e-9) == (place <= first + m), (place, m)


@pytest.mark.parametrize("name", ["small", "one head", "all options", "no options", "one prediction", "arc1d"])
def test_greedy_decoding_is_the_teacher_forced_argmax(name: str) -> None:
    config = CONFIGS[name]
    template = Transformer(config)
    theta = random_theta(template, 3)
    x = tokens(config, 3, 5)[..., : config.n_ctx - config.n_out]
    answers = template.decode(theta, x)
    forced = template.forward(theta, torch.cat([x, answers[..., :-1]], -1))
    assert answers.shape == (3, 5, config.n_out)
    assert torch.equal(forced.argmax(-1), answers)
    assert len(answers.flatten().unique()) > 1


def test_decoding_without_a_cache_gives_the_same() -> None:
    template = Transformer(SMALL)
    theta = random_theta(template, 2)
    x = tokens(SMALL, 2, 8)[..., :6]
    plain, read = PlainTransformer(SMALL), x
    for _ in range(SMALL.n_out):
        logits = torch.stack([functional_call(plain, plain.state(theta, i), (read[i],)) for i in range(2)])
        read = torch.cat([read, logits[:, :, -1:].argmax(-1)], -1)
    assert torch.equal(template.decode(theta, x), read[..., 6:])


def test_exact_match_is_the_same_forced_and_decoded() -> None:
    template = Transformer(SMALL)
    theta = random_theta(template, 2)
    x = tokens(SMALL, 2, 60)[..., :6]
    decoded = template.decode(theta, x)
    y = decoded.clone()
    for i in range(30):  # half of the targets are wrong at one place
        y[:, i, i % SMALL.n_out] = (y[:, i, i % SMALL.n_out] + 1) % SMALL.d_vocab
    forced = template.forward(theta, torch.cat([x, y[..., :-1]], -1)).argmax(-1)
    by_force, by_decoding = (forced == y).all(-1), (decoded == y).all(-1)
    assert torch.equal(by_force, by_decoding)
    assert by_force.sum(1).tolist() == [30, 30]


def test_weight_sets_do_not_mix() -> None:
    template = Transformer(SMALL)
    theta, x = random_theta(template, 3), tokens(SMALL, 3, 4)
    before = template.forward(theta, x).detach()
    with torch.no_grad():
        for value in theta.values():
            value[1] += 1
    after = template.forward(theta, x).detach()
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


def test_without_a_projection_head_h_writes_its_own_dimensions() -> None:
    config = replace(SMALL, positional=False, output_projection=False)
    template = Transformer(config)
    theta = random_theta(template, 1)
    with torch.no_grad():
        for name in ("W_in", "b_in", "W_out", "b_out"):
            theta[name].zero_()
        theta["W_U"].copy_(torch.eye(config.d_model)[None, :, : config.d_vocab])
        theta["W_V"][:, 1] = 0  # head 1 writes dimensions 4 … 7: of the five shown, the last
    x = tokens(config, 1, 4)
    update = template.forward(theta, x) - theta["W_E"][0][x[:, :, -config.n_out :]][..., : config.d_vocab]
    assert update[..., 4].abs().max() < 1e-6
    assert update[..., :4].abs().min() > 0
