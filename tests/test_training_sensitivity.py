"""Learning rates by how far a tensor's weights move the output."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adadsr.datasets import load_pairs
from adadsr.networks import Network
from adadsr.training import trainer
from adadsr.training.optimizers import Optimizers
from adadsr.training.sensitivity import rate_factors
from training_samples import ALONE, RECIPE, build, trainer_of, write_photos

LR = torch.randint(256, (2, 3, 12, 12), generator=torch.Generator().manual_seed(3)).float()


def rescaled(network: Network, factor: float) -> Network:
    """The same function: what a dense EDSR's last conv reads is `factor` times as large."""
    tail = network.weights().tail
    with torch.no_grad():
        for part in tail.convs[0]:
            part.mul_(factor)
        tail.last.weight.div_(factor)
    return network


@pytest.mark.parametrize("name", ["tiny", "adatiny", "tiny-compact", "tiny-esrgan"])
def test_the_network_stays_as_it_is(name: str) -> None:
    network = build(name, 2, depth_tile=4 if name == "adatiny" else 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    factors = rate_factors(network, LR)
    assert set(factors) == {key for key, _ in network.named_parameters()}
    assert all(0 < factor <= 1 for factor in factors.values())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert rate_factors(network, LR) == factors


def test_what_moves_sr_more_than_is_bearable_learns_that_much_slower() -> None:
    network = build("tiny", 2)
    plain, large = rate_factors(network, LR), rate_factors(rescaled(network, 1000.0), LR)
    assert large["tail.conv.weight"] < plain["tail.conv.weight"]
    larger = rate_factors(rescaled(network, 10.0), LR)
    assert larger["tail.conv.weight"] == pytest.approx(large["tail.conv.weight"] / 10, rel=0.1)
    assert larger["body.blocks.0.conv1.weight"] == pytest.approx(large["body.blocks.0.conv1.weight"], rel=0.1)


@pytest.mark.parametrize("muon", [False, True])
def test_each_weight_moves_by_its_factor(muon: bool) -> None:
    networks = [build("tiny", 2), build("tiny", 2)]
    names = [name for name, _ in networks[0].named_parameters()]
    factors = {name: 1 / (1 + index % 3) for index, name in enumerate(names)}
    moved = [step(network, each, muon=muon) for network, each in zip(networks, (None, factors), strict=True)]
    for name in names:
        torch.testing.assert_close(moved[1][name], moved[0][name] * factors[name], rtol=1e-3, atol=1e-7)


def step(network: Network, factors: dict[str, float] | None, *, muon: bool) -> dict[str, Tensor]:
    """How far a first step moves each parameter."""
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizers = Optimizers(network, ALONE.device, muon=muon, factors=factors)
    optimizers.zero_grad()
    network(LR).sr.square().mean().backward()
    optimizers.step(1e-3)
    return {name: value.detach() - before[name] for name, value in network.named_parameters()}


def other_factors(network: Network, _: Tensor) -> dict[str, float]:
    """One of three, in other groups of parameters than any that were measured."""
    return {name: 1 / (1 + index % 3) for index, (name, _) in enumerate(network.named_parameters())}


def test_a_resumed_run_has_the_same_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where they would be measured differently now, as by another version or on another machine."""
    pairs = load_pairs(write_photos(tmp_path / "photos"), 2)
    recipe = replace(RECIPE, even_rates=True)
    whole, first = trainer_of(recipe, pairs), trainer_of(recipe, pairs)
    expected = [float(whole.advance().loss) for _ in range(6)]
    assert [float(first.advance().loss) for _ in range(3)] == expected[:3]
    monkeypatch.setattr(trainer, "rate_factors", other_factors)
    second = trainer_of(recipe, pairs)
    second.restore(first.state())
    assert [float(second.advance().loss) for _ in range(3)] == expected[3:]
    third = trainer_of(recipe, pairs)
    third.restore(second.state())
    assert third.factors == first.factors
    plain = trainer_of(RECIPE, pairs)
    assert [float(plain.advance().loss) for _ in range(6)] != expected
