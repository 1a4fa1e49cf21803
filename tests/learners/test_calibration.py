"""The initial θ: every tensor has mean 0 and its share of the usual spread; θ₀ brings full rank."""

from __future__ import annotations

import pytest
import scipy.fft
import torch

from pipeline.learners import MetaLearner
from pipeline.params import FAMILIES, LEARNERS, Params
from pipeline.programs import make_family
from tests.helpers import changed, codes, make, paper, paper_values, same_bits, tiny

META = [name for name in LEARNERS if name.startswith("meta_")]
CELLS = [(family, learner) for family in FAMILIES for learner in META]
SPREAD = 0.37


def calibrated(params: Params, family: str, learner: str, seed: int = 0) -> MetaLearner:
    made = make(params, family, learner)
    assert isinstance(made, MetaLearner)
    made.calibrate(codes(make_family(params, family)), torch.Generator().manual_seed(seed))
    return made


def settings(family: str, learner: str, theta0: bool) -> Params:
    section = f"learners.{family}.{learner}"
    changes: dict[str, object] = {f"{section}.spread": SPREAD, f"{section}.bandwidth": None}
    if learner != "meta_mlp":
        changes[f"{section}.theta0"] = theta0
    return tiny(changes)


@pytest.mark.parametrize(("family", "learner"), CELLS)
@pytest.mark.parametrize("theta0", [False, True])
def test_decoded_tensors_have_mean_zero_and_their_share_of_the_usual_spread(
    family: str, learner: str, theta0: bool
) -> None:
    params = settings(family, learner, theta0)
    made = calibrated(params, family, learner)
    drawn = getattr(made, "theta0", torch.zeros(()))
    decoded = made.template.split(made.slots(codes(make_family(params, family))) - drawn)
    for tensor in made.template.tensors:
        value = decoded[tensor.name].detach()
        assert float(value.std()) == pytest.approx(SPREAD * tensor.std, rel=0.02), tensor.name
        assert abs(float(value.mean())) < 0.02 * SPREAD * tensor.std, tensor.name


@pytest.mark.parametrize(("family", "learner"), [cell for cell in CELLS if cell[1] != "meta_mlp"])
def test_theta0_is_one_usual_initialisation_for_all_intents(family: str, learner: str) -> None:
    made = calibrated(settings(family, learner, True), family, learner, 5)
    assert torch.equal(made.theta0, made.template.initial(torch.Generator().manual_seed(5)))  # type: ignore[arg-type]
    assert "theta0" in made.state_dict()
    assert not any(name == "theta0" for name, _ in made.named_parameters())


@pytest.mark.parametrize("learner", ["meta_gmlp", "meta_gmlp_mx", "meta_gnn"])
def test_theta0_lies_within_the_bandwidth(learner: str) -> None:
    section = f"learners.addmod.{learner}"
    changes = {f"{section}.theta0": True, f"{section}.bandwidth": 3, f"{section}.scale": "linear"}
    made = calibrated(tiny(changes), "addmod", learner)
    theta0 = made.template.split(made.theta0[None])  # type: ignore[operator]
    for name, axis in (("W_E", 1), ("W_U", 2)):
        assert scipy.fft.dct(theta0[name].numpy(), axis=axis).take(range(3, 13), axis=axis) == pytest.approx(
            0, abs=1e-5
        )
    drawn = made.template.split(made.template.initial(torch.Generator().manual_seed(0))[None])
    assert torch.equal(theta0["W_in"], drawn["W_in"])


@pytest.mark.parametrize("learner", ["meta_mlp", "meta_gmlp"])
def test_a_last_layer_with_a_row_for_each_slot_writes_within_the_bandwidth(learner: str) -> None:
    section = "learners.addmod." + learner
    without = {} if learner == "meta_mlp" else {f"{section}.theta0": False}
    params = tiny({f"{section}.bandwidth": 3, f"{section}.spread": SPREAD, f"{section}.scale": "linear", **without})
    made, family = make(params, "addmod", learner), make_family(params, "addmod")
    assert isinstance(made, MetaLearner)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    made.calibrate(codes(family), torch.Generator().manual_seed(0))
    theta = {name: value.detach() for name, value in made.generate(codes(family)).items()}
    for name, axis in (("W_E", 1), ("W_U", 2)):
        waves = scipy.fft.dct(theta[name].numpy(), axis=axis)
        assert waves.take(range(3, waves.shape[axis]), axis=axis) == pytest.approx(0, abs=1e-4)
        assert abs(waves.take(2, axis=axis)).max() > 0.1
    for tensor in made.template.tensors:
        assert float(theta[tensor.name].std()) == pytest.approx(SPREAD * tensor.std, rel=0.02), tensor.name
        assert abs(float(theta[tensor.name].mean())) < 0.02 * SPREAD * tensor.std, tensor.name


@pytest.mark.parametrize(
    ("learner", "small"), [("meta_gmlp_mx", {"hidden": [16]}), ("meta_gnn", {"d_h": 8, "width": 8, "rounds": 1})]
)
def test_theta_has_full_rank_with_theta0(learner: str, small: dict[str, object]) -> None:
    assert paper().learner("addmod", learner).theta0
    full = {"budget": None, "bandwidth": None}  # within a bandwidth the rank along the tokens is the number of waves
    changes = {f"learners.addmod.{learner}.{name}": value for name, value in {**small, **full}.items()}
    params = Params.model_validate(changed(paper_values(), changes))
    made = calibrated(params, "addmod", learner)
    theta = made.generate(codes(make_family(params, "addmod"))[:2])
    for tensor in made.template.tensors:
        value = theta[tensor.name].detach().double()
        if value.ndim > 2:
            singular = torch.linalg.svdvals(value)
            assert (singular[..., -1] > 1e-3 * singular[..., 0]).all(), tensor.name
        # Decoded and drawn parts together: the usual spread, and the sampling error of θ₀'s spread.
        expected = tensor.std * (1 + params.learner("addmod", learner).spread ** 2) ** 0.5
        assert float(value.std()) == pytest.approx(expected, rel=0.05 + 4 * (2 * tensor.n_slots) ** -0.5), tensor.name


def test_calibrating_twice_changes_nothing_but_rounding() -> None:
    params = settings("addmod", "meta_gnn", True)
    once, twice = (calibrated(params, "addmod", "meta_gnn") for _ in range(2))
    twice.calibrate(codes(make_family(params, "addmod")), torch.Generator().manual_seed(0))
    u = codes(make_family(params, "addmod"))
    torch.testing.assert_close(once.slots(u), twice.slots(u), rtol=1e-3, atol=1e-4)


def test_one_number_keeps_its_spread_and_gets_mean_zero() -> None:
    params = tiny({"programs.sumfirst.train_n": [2]})
    made = calibrated(params, "sumfirst", "meta_mlp")
    theta = made.generate(codes(make_family(params, "sumfirst")))
    assert theta["b_1"].shape == (1, 1)
    assert abs(float(theta["b_1"].detach())) < 1e-6
    assert all(value.isfinite().all() for value in made.parameters())
    ood = made.generate(codes(make_family(params, "sumfirst"), "ood"))
    assert all(value.isfinite().all() and value.abs().max() < 100 for value in ood.values())


@pytest.mark.parametrize("learner", ["direct_mlp", "direct_transformer"])
def test_direct_learners_have_no_theta_to_calibrate(params: Params, learner: str) -> None:
    made, untouched = make(params, "addmod", learner), make(params, "addmod", learner)
    made.calibrate(codes(make_family(params, "addmod")), torch.Generator())
    assert same_bits(made.state_dict(), untouched.state_dict())
