"""Which convs a training runs on, and that the native engine's give the gradients of the definition."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adadsr.backends import native
from adadsr.datasets import load_pairs
from adadsr.errors import BackendError
from adadsr.graph import BodyWeights, ConvWeights, GroupWeights, ResidualBlock
from adadsr.networks import Network, NetworkConfig
from adadsr.tensor_ops import OPS
from adadsr.training import Pace, Recipe, Run
from adadsr.training.convs import NativeConvs, TorchConvs, choose_convs
from adadsr.training.depths import AdapterDepths, StepDepths, UniformDepths
from adadsr.training.forward import TrainingForward
from training_samples import RECIPE, STAGES, trainer_of, trains_in_bfloat16, write_photos

CPU = torch.device("cpu")
needs_native = pytest.mark.skipif(native.missing() is not None, reason="the native engine was not built")
SOME = AdapterDepths(torch.tensor([0.6, 1.5]))
CASES: dict[str, tuple[NetworkConfig, StepDepths]] = {
    "edsr": (NetworkConfig("edsr", 2, 16, 2), None),
    "edsr-x4": (NetworkConfig("edsr", 4, 16, 2), None),
    "adaedsr, one depth": (NetworkConfig("edsr", 2, 16, 2, adaptive=True, depth_tile=4), UniformDepths((1,))),
    "adaedsr, exits": (NetworkConfig("edsr", 2, 16, 2, adaptive=True, depth_tile=4), UniformDepths((2, 0, 1))),
    "adarcan, exits": (NetworkConfig("rcan", 2, 16, 2, n_groups=2, adaptive=True, depth_tile=4), UniformDepths((1, 2))),
    "adaedsr, tiles": (NetworkConfig("edsr", 2, 16, 2, adaptive=True, depth_tile=4), SOME),
    "adaedsr, pixels": (NetworkConfig("edsr", 2, 32, 2, adaptive=True), SOME),
    "adarcan, tiles": (NetworkConfig("rcan", 2, 16, 2, n_groups=2, adaptive=True, depth_tile=4), SOME),
    "adarcan, pixels": (NetworkConfig("rcan", 2, 32, 2, n_groups=2, adaptive=True), SOME),
    "rcan": (NetworkConfig("rcan", 2, 16, 2, n_groups=3), None),
    "rcan, one group": (NetworkConfig("rcan", 2, 16, 2), None),
    "esrgan": (NetworkConfig("esrgan", 4, 16, 1, growth=16), None),
    "adaesrgan, tiles": (NetworkConfig("esrgan", 2, 16, 2, adaptive=True, depth_tile=4, growth=16), SOME),
    "compact": (NetworkConfig("compact", 2, 16, 2), None),
}


def gradients(network: Network, convs: TorchConvs, lr: Tensor, depths: StepDepths) -> Tensor:
    """All gradients of the mean squared SR pixel, which has no kink. Those of a parameter without one count as 0."""
    network.zero_grad()
    TrainingForward(network, bfloat16=False, convs=convs)(lr, depths).sr.square().mean().backward()
    found = [torch.zeros_like(each) if each.grad is None else each.grad for each in network.parameters()]
    return torch.cat([gradient.double().flatten() for gradient in found])


@needs_native
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_network(name: str) -> None:
    """Error against float64 at most ten times that of torch's float32, all parameters together."""
    config, depths = CASES[name]
    network = Network(config, torch.Generator().manual_seed(1))
    lr = torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(2)) * 255
    convs = NativeConvs()
    ours, single = (gradients(network, each, lr, depths) for each in (convs, TorchConvs()))
    assert any(convs.convs._free.values()), "nothing ran on the native engine"
    wide = replace(depths, desired=depths.desired.double()) if isinstance(depths, AdapterDepths) else depths
    exact = gradients(network.double(), TorchConvs(), lr.double(), wide)
    assert (ours - exact).norm() <= 10 * max((single - exact).norm(), 2.0**-24 * exact.norm())


def test_the_default_is_native_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare PyTorch machine trains, too, with torch."""
    assert choose_convs("torch", RECIPE, CPU).label == "torch"
    if native.missing() is None:
        assert choose_convs("auto", RECIPE, CPU).label.startswith("native (")
    assert choose_convs("auto", RECIPE, torch.device("cuda")).label == "torch"
    monkeypatch.setattr(native, "missing", lambda: "its extension is missing")
    assert choose_convs("auto", RECIPE, CPU).label == "torch"


@pytest.mark.parametrize(
    ("recipe", "device", "reason"),
    [
        (RECIPE, torch.device("cuda"), "it runs on CPUs only, not on cuda"),
        (replace(RECIPE, compile=True), CPU, "it trains without torch.compile only"),
        (RECIPE, CPU, "its extension is missing"),
    ],
)
def test_native_where_it_cannot_run_is_an_error(
    recipe: Recipe, device: torch.device, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "missing", lambda: "its extension is missing")
    with pytest.raises(BackendError, match=f"cannot train here: {reason}; choose --convs torch"):
        choose_convs("native", recipe, device)


@needs_native
def test_native_trains_in_bfloat16_on_amx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, precision="bfloat16")
    if trains_in_bfloat16():
        convs = choose_convs("auto", recipe, CPU)
        assert (convs.label, convs.casts) == ("native (amx-bf16)", True)
    monkeypatch.setenv("ADADSR_ISA", "plain")
    assert choose_convs("auto", recipe, CPU).label == "torch"
    with pytest.raises(BackendError, match="bfloat16 on AMX only, and it runs on plain here"):
        choose_convs("native", recipe, CPU)
    chained = Recipe("tiny-compact", 2, 1, (replace(STAGES[0], adaptive=False),), precision="bfloat16")
    with pytest.raises(BackendError, match="it trains compact in float32 only"):
        choose_convs("native", chained, CPU)


def test_the_log_names_what_ran(tmp_path: Path) -> None:
    pairs = load_pairs(write_photos(tmp_path / "photos"), RECIPE.scale)
    trainer = trainer_of(replace(RECIPE, stages=(replace(STAGES[0], steps=1),)), pairs)
    Run(trainer, pairs, tmp_path, Pace(every=1)).go()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["convs"] for line in lines if line["kind"] == "progress"] == [trainer.convs.label]
    assert trainer.convs.label == choose_convs("auto", RECIPE, CPU).label


@needs_native
def test_parameters_that_changed_before_the_backward_pass_are_an_error() -> None:
    """As in torch: the gradient would be that of other weights."""
    network = Network(CASES["edsr"][0], torch.Generator().manual_seed(1))
    loss = TrainingForward(network, bfloat16=False, convs=NativeConvs())(torch.zeros(1, 3, 8, 8)).sr.sum()
    with torch.no_grad():
        network.weights().body.blocks[0].conv1.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("network", ["esrgan", "compact", "edsr"])
def test_exits_are_the_bodies_cut_off_there(network: str) -> None:
    """Blocks run once, results are those of as many runs."""
    growth = 4 if network == "esrgan" else 0
    body = Network(NetworkConfig(network, 2, 8, 4, growth=growth), torch.Generator().manual_seed(0)).weights().body
    z0, exits = torch.randn(2, 8, 8, 12, generator=torch.Generator().manual_seed(1)), (3, 0, 4, 1)
    expected = torch.cat([body.shallow(n_blocks).run(OPS, z0) for n_blocks in exits])
    assert torch.equal(TorchConvs().run_exits(body, z0, exits), expected)


@needs_native
@pytest.mark.parametrize("sides", [(3, 3), (5, 5), (3, 1), (1, 3), (5, 3)], ids=str)
@pytest.mark.parametrize("hidden", [16, 32, 8])
def test_blocks_of_any_two_convs_train(hidden: int, sides: tuple[int, int]) -> None:
    """The engine runs those of equal 3x3 convs as one operation, and of others what it can."""
    random = torch.Generator().manual_seed(1)

    def conv(inputs: int, outputs: int, side: int) -> ConvWeights:
        weight = torch.randn(outputs, inputs, side, side, generator=random) / (inputs * side**2) ** 0.5
        return ConvWeights(weight, torch.randn(outputs, generator=random))

    blocks = tuple(ResidualBlock(conv(16, hidden, sides[0]), conv(hidden, 16, sides[1])) for _ in range(2))
    body = BodyWeights((GroupWeights(blocks),), conv(16, 16, 3), 4)
    z0 = torch.randn(2, 16, 8, 12, generator=random, requires_grad=True)
    for run in (
        lambda convs: convs.run_body(body, z0),
        lambda convs: convs.run_body(body, z0, torch.tensor([[0.0, 1, 2], [2, 2, 0]]).expand(2, 1, 2, 3)),
        lambda convs: convs.run_exits(body, z0, (2, 0, 1)),
    ):
        results = [run(convs) for convs in (NativeConvs(), TorchConvs())]
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(*(torch.autograd.grad(z.square().mean(), z0)[0] for z in results))
