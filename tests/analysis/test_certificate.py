"""Certificates: bounds that hold, radii that nothing breaks, what rounding does, and what is said of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.analysis.attack import nearest_found
from pipeline.analysis.certificate import analyse
from pipeline.analysis.certified import Case, Checked, check
from pipeline.analysis.finding import DoesNotApply
from pipeline.analysis.lipschitz import body, operator_norm
from pipeline.analysis.quantization import distance, to_bfloat16, to_bits, to_int8
from pipeline.analysis.subject import Subject
from pipeline.analysis.verdict import lines
from pipeline.programs import Family, Intent, make_family
from pipeline.synthesis import NeuralProgram
from pipeline.templates import Mlp, Template, Theta, Transformer, TransformerConfig
from tests.helpers import tiny

SIZES: dict[str, Any] = {"d_model": 6, "n_heads": 2, "d_mlp": 7, "token_unit": 1.0}
PLAIN: dict[str, Any] = {"positional": False, "attention_bias": False, "output_projection": False}
TEMPLATES: dict[str, Template] = {
    "linear": Mlp((5, 1)),
    "one layer": Mlp((5, 4, 1)),
    "three layers": Mlp((5, 4, 6, 3, 2)),
    "plain": Transformer(TransformerConfig(d_vocab=5, n_ctx=2, n_out=1, **SIZES, **PLAIN)),
    "positional": Transformer(TransformerConfig(d_vocab=5, n_ctx=2, n_out=1, **SIZES, **PLAIN | {"positional": True})),
    "bias": Transformer(TransformerConfig(d_vocab=5, n_ctx=3, n_out=1, **SIZES, **PLAIN | {"attention_bias": True})),
    "output": Transformer(
        TransformerConfig(d_vocab=5, n_ctx=3, n_out=2, **SIZES, **PLAIN | {"output_projection": True})
    ),
    "all": Transformer(TransformerConfig(d_vocab=5, n_ctx=7, n_out=4, **SIZES, **dict.fromkeys(PLAIN, True))),
}


def drawn(template: Template, generator: torch.Generator, scale: float = 1.0) -> Theta:
    """Random weights (float64, K = 1)."""
    return {n: v.double() for n, v in template.split(scale * template.initial(generator)[None]).items()}


def inputs(template: Template, generator: torch.Generator, n: int = 12) -> Tensor:
    if isinstance(template, Transformer):
        return torch.randint(template.config.d_vocab, (n, template.config.n_ctx), generator=generator)
    assert isinstance(template, Mlp)
    return 3 * torch.randn(n, template.sizes[0], generator=generator, dtype=torch.float64)


def moves(template: Template, theta: Theta, x: Tensor, size: float, generator: torch.Generator) -> list[Theta]:
    """Moves Δθ: all tensors at random, each tensor alone along a gradient of the hidden vectors, and of rank one."""
    all_of = {n: size * torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in theta.items()}
    leaves = {n: v.clone().requires_grad_() for n, v in theta.items()}
    hidden = body(template, leaves, x).hidden
    measure = hidden[0] @ hidden[0].detach() + 0.0 * leaves[template.tensors[-1].name].sum()
    gradients = torch.autograd.grad(measure, list(leaves.values()), allow_unused=True)
    found = [all_of]
    for (name, value), gradient in zip(theta.items(), gradients, strict=True):
        zeros = {n: torch.zeros_like(v) for n, v in theta.items()}
        if gradient is not None and gradient.norm() > 0:
            found += [zeros | {name: sign * size * gradient / gradient.norm()} for sign in (1, -1)]
        found.append(zeros | {name: -size * value})
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("size", [1e-5, 0.1, 2.0])
def test_the_hidden_vectors_never_move_farther_than_the_bound(name: str, size: float) -> None:
    template = TEMPLATES[name]
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        theta, x = drawn(template, generator, 0.5 + seed / 2), inputs(template, generator)
        before = body(template, theta, x)
        for move in moves(template, theta, x, size, generator):
            moved = {n: operator_norm(n, v[0]) for n, v in move.items()}
            after = body(template, {n: theta[n] + move[n] for n in theta}, x)
            bound = before.change(moved).at(moved)
            rounding = 1e-11 * float(1 + before.hidden.norm(dim=-1).max())
            assert ((after.hidden - before.hidden).norm(dim=-1) <= bound * (1 + 1e-9) + rounding).all()


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_body_is_the_template_without_its_last_map(name: str) -> None:
    template, generator = TEMPLATES[name], torch.Generator().manual_seed(0)
    theta, x = drawn(template, generator), inputs(template, generator)
    hidden = body(template, theta, x).hidden
    bias = theta[template.tensors[-1].name][0] if isinstance(template, Mlp) else 0.0
    last = theta[template.tensors[-2 if isinstance(template, Mlp) else -1].name][0]
    output = template.forward(theta, x[None])[0]
    torch.testing.assert_close((hidden @ last + bias).view_as(output), output)


def test_equation_3_by_hand() -> None:
    theta = {
        name: torch.tensor([value]).double()
        for name, value in {
            "W_0": [[2.0]],
            "b_0": [1.0],
            "W_1": [[-3.0]],
            "b_1": [20.0],
            "W_2": [[1.0]],
            "b_2": [0.0],
        }.items()
    }
    found = body(Mlp((1, 1, 1, 1)), theta, torch.tensor([[2.0]]).double())
    assert found.hidden.tolist() == [[5.0]]  # 20 − 3 (2 · 2 + 1)
    region = dict.fromkeys(theta, 0.5)
    by = {name: float(value) for name, value in found.change(region).by.items()}
    assert by == {"W_0": 2 * 3.5, "b_0": 3.5, "W_1": 5.0, "b_1": 1.0}
    assert float(found.change(region).at(region)) == 0.5 * (7 + 3.5 + 5 + 1)


def test_norms_of_tensors_split_among_heads() -> None:
    heads = torch.stack([3 * torch.eye(4), 4 * torch.eye(4)])
    assert operator_norm("W_Q", heads) == 5.0
    assert operator_norm("b_Q", torch.tensor([[3.0, 0.0], [0.0, 4.0]])) == 5.0
    assert operator_norm("W_O", heads) == pytest.approx(5.0)  # stacked: √(3² + 4²)
    assert operator_norm("W_in", 3 * torch.eye(4)) == 3.0


def family(name: str) -> Family:
    return make_family(tiny(), name)


def sums(n: int, bias: float = 0.0) -> NeuralProgram:
    """The sum of the first n of five numbers, plus `bias`, by one linear map."""
    theta = {"W_0": torch.zeros(1, 5, 1), "b_0": torch.full((1, 1), bias)}
    theta["W_0"][:, :n] = 1.0
    return NeuralProgram(family("sumfirst"), Intent("n", n), Mlp((5, 1)), theta, {})


def checked(program: NeuralProgram) -> Checked:
    return check(program, np.random.default_rng(0))


def test_the_radius_of_a_linear_map_is_exact() -> None:
    """|w · x − y| grows by ‖x‖ ≤ √(5 · 2²) per unit of w, so 0.5 − bias is used up at (0.5 − bias) / √20."""
    found = checked(sums(5, 0.25))
    assert found.exhaustive
    assert found.margin == found.margin_right == 0.25
    assert found.radius == found.radius_any == pytest.approx(0.25 / 20**0.5, rel=2e-3)
    assert found.radius <= 0.25 / 20**0.5
    assert nearest_found(found) == pytest.approx(0.25 / 20**0.5, rel=6e-3)


def random_program(name: str, seed: int) -> NeuralProgram:
    of = family(name)
    intent = of.intents("train")[-1]
    options = dict.fromkeys(PLAIN, True)
    length = of.input_length + of.output_length - 1
    vocabulary = of.vocabulary
    template: Template = (
        Mlp((of.input_length, 6, 1))
        if vocabulary is None
        else Transformer(
            TransformerConfig(d_vocab=vocabulary, n_ctx=length, n_out=of.output_length, **SIZES, **options)
        )
    )
    theta = template.split(template.initial(torch.Generator().manual_seed(seed))[None])
    return NeuralProgram(of, intent, template, theta, {})


@pytest.mark.parametrize("name", ["sumfirst", "addmod", "arc1d"])
def test_no_answer_changes_within_the_radius(name: str) -> None:
    """Random networks are mostly wrong; their answers, right or wrong, are what must stay."""
    for seed in range(3):
        found = checked(random_program(name, seed))
        assert found.margin < 0
        assert found.radius_any > 0
        theta = {n: v.double().requires_grad_() for n, v in found.program.theta.items()}
        before = found.case(found.x, found.answers)
        weakest = before.leads().flatten().argmin()
        case = found.case(found.x, found.answers, theta)
        gradients = torch.autograd.grad(case.leads().flatten()[weakest], list(theta.values()), allow_unused=True)
        for (n, value), gradient in zip(theta.items(), gradients, strict=True):
            if gradient is None or gradient.norm() == 0:
                continue
            there = theta | {n: value - 0.999 * found.radius_any * gradient / gradient.norm()}
            assert (found.case(found.x, found.answers, {k: v.detach() for k, v in there.items()}).leads() > 0).all()


@pytest.mark.parametrize("name", ["sumfirst", "addmod", "arc1d"])
@pytest.mark.parametrize("size", [0.01, 0.3])
def test_the_leads_never_move_farther_than_their_bound(name: str, size: float) -> None:
    found = checked(random_program(name, 1))
    generator = torch.Generator().manual_seed(0)
    theta = {n: v.double() for n, v in found.program.theta.items()}
    move = {n: size * torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in theta.items()}
    x, answers = found.x[:50], found.answers[:50]
    before, after = found.case(x, answers), found.case(x, answers, {n: theta[n] + move[n] for n in theta})
    moved = {n: operator_norm(n, v[0]) for n, v in move.items()}
    total = sum(float(v[0].norm()) for v in move.values())
    others = before.leads().isfinite()
    change = (after.leads() - before.leads())[others].abs()
    assert (change <= before.change(moved)[others]).all()
    assert (change <= before.slope(total)[others] * total).all()
    assert (before.change(moved) <= before.slope(total) * total * (1 + 1e-9))[others].all()  # ‖·‖₂ ≤ ‖·‖_F


@pytest.mark.parametrize("name", ["sumfirst", "addmod", "arc1d"])
def test_feeding_answers_back_says_what_decoding_gives(name: str) -> None:
    """`gives` takes one pass where decoding takes one for each token; answers with one token changed are not given."""
    for seed in range(3):
        program = random_program(name, seed)
        x, _ = program.inputs(np.random.default_rng(seed), 500)
        answers = program.answers(x)
        assert program.gives(x, answers).all()
        right = program.family.rule(program.intent, x)
        assert program.gives(x, right).tolist() == (answers == right).all(1).tolist()
        place = np.random.default_rng(seed).integers(answers.shape[1], size=len(x))
        other = answers.copy()
        other[np.arange(len(x)), place] = (other[np.arange(len(x)), place] + 1) % (program.family.vocabulary or 100)
        assert not program.gives(x, other).any()
        found = checked(program)
        assert (found.answers == program.answers(found.x)).all()


def test_an_analysis_looks_at_fewer_inputs_where_answers_are_long() -> None:
    length = tiny().programs.arc1d.length
    program = random_program("arc1d", 0)
    assert program.affordable == 10_000_000 // (length * (2 * length - 1))
    assert random_program("addmod", 0).affordable == 200_000
    space = program.family.space(program.intent)
    drawn, exhaustive = program.inputs(np.random.default_rng(0), space - 1)
    assert not exhaustive
    assert len({tuple(row) for row in drawn}) == len(drawn) == min(10_000, space - 1)
    assert program.inputs(np.random.default_rng(0), space)[1]
    assert program.verify(np.random.default_rng(0), 7)[1:] == (7, False)


def test_a_change_is_never_found_within_the_radius() -> None:
    found = [checked(random_program("addmod", seed)) for seed in range(8)]
    found = [one for one in found if one.right.any()]
    assert found
    for one in found:
        near = nearest_found(one)
        assert near > one.radius > 0


def test_a_wrong_answer_leaves_a_certificate_for_the_right_ones() -> None:
    found = checked(sums(4))
    assert found.right.all()
    other = NeuralProgram(found.program.family, Intent("n", 5), found.program.template, found.program.theta, {})
    wrong = checked(other)
    assert wrong.right.mean() == 0.2  # the fifth number is 0
    assert wrong.margin == -1.5
    assert wrong.margin_right == 0.5
    assert wrong.radius > wrong.radius_any > 0  # right answers leave out the longest inputs
    assert "none of the 625 right answers changes" in lines(wrong)[0]


@pytest.mark.parametrize("name", ["sumfirst", "addmod", "arc1d"])
@pytest.mark.parametrize("value", [0.0, 1e30, float("nan"), float("inf")])
def test_degenerate_weights_are_no_accident(name: str, value: float) -> None:
    program = random_program(name, 0)
    theta = {n: torch.full_like(v, value) for n, v in program.theta.items()}
    found = checked(NeuralProgram(program.family, program.intent, program.template, theta, {}))
    said = lines(found)
    if not np.isfinite(value):
        assert said == ["no certificate: some weights are not finite"]
        assert found.radius == found.radius_any == 0
        assert np.isnan(found.margin)
        assert np.isnan(nearest_found(found))
    elif program.family.vocabulary is not None:
        assert found.radius == 0  # all logits tie
        assert "no certificate" in said[0]
    else:
        assert np.isfinite(found.radius)


def test_rounding() -> None:
    theta = {"w": torch.tensor([[1.0, -2.54, 0.013, 0.0], [0.0, 0.0, 0.0, 0.0]]), "b": torch.tensor([[3.0], [1e-9]])}
    assert to_int8(theta)["w"][0].tolist() == pytest.approx([1.0, -2.54, 0.02, 0.0])
    assert to_int8(theta)["w"][1].tolist() == [0.0] * 4
    values = {"w": torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))}
    assert torch.equal(to_bits(values, 8)["w"], to_bfloat16(values)["w"])
    assert torch.equal(to_bits(values, 24)["w"], values["w"])
    assert to_bits({"w": torch.tensor([[5.0, -7.0, 0.0]])}, 2)["w"].tolist() == [[4.0, -8.0, 0.0]]
    assert (
        distance(
            {"a": torch.zeros(1, 2), "b": torch.zeros(1, 1)}, {"a": torch.tensor([[3.0, 4.0]]), "b": torch.ones(1, 1)}
        )
        == 6.0
    )


def test_what_is_covered_does_not_change() -> None:
    found = checked(sums(3))
    near, far = ({n: v + size for n, v in found.program.theta.items()} for size in (0.01, 0.2))
    assert found.covers(near, far) == [True, False]
    assert (found.changed(near), found.changed(far) > 0) == (0, True)


def subject(biases: list[float]) -> Subject:
    """sumfirst n = 1, 2, …, each by one linear map with this bias."""
    programs = [sums(n, bias) for n, bias in enumerate(biases, 1)]
    theta = {name: torch.cat([program.theta[name] for program in programs]) for name in programs[0].theta}
    learner = cast("Any", SimpleNamespace(template=programs[0].template))
    intents = tuple(program.intent for program in programs)
    return Subject(programs[0].family, learner, {"learner": "meta_mlp", "seed": 0}, intents, theta, theta)


def test_the_finding() -> None:
    found = analyse(subject([0.25, 0.0, 0.1, 0.0, 0.75]))
    table = found.tables["certificates"]
    assert table["margin"].tolist() == pytest.approx([0.25, 0.5, 0.4, 0.5, -0.25])
    assert found.numbers["intents"] == found.numbers["perfect"] == 4
    assert found.numbers["int8_covered"] == found.numbers["bfloat16_covered"] == 4
    assert (
        "Of 5 intents, 4 have a network of accuracy 0.99 or more (1 of them never trained); the other 1"
        in found.text[0]
    )
    assert "attention" not in " ".join(found.text)
    assert set(found.captions) == {*found.tables, *found.figures}
    assert analyse(subject([0.25, 0.0])).figures == analyse(subject([0.25, 0.0])).figures


def test_networks_that_do_not_classify_have_no_certificate() -> None:
    with pytest.raises(DoesNotApply, match="No intent's network is right on 99%"):
        analyse(subject([0.75, 0.75]))


def test_inputs_in_parts_are_certified_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    program = random_program("addmod", 2)
    whole = checked(program).radius_any
    monkeypatch.setattr("pipeline.analysis.certified.AT_ONCE", 50)
    assert checked(program).radius_any == pytest.approx(whole, rel=2e-3)
    assert isinstance(checked(program).case(np.array([[1, 2]]), np.array([[3]])), Case)
