"""What a plan says that it costs, against a count of every product that torch runs."""

import math
from typing import Any

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from adadsr.backends.portable.engine import TensorEngine
from adadsr.graph import price
from adadsr.networks import Model, NetworkConfig, tensor_shapes
from adadsr.upscaler import Execution, Upscaler
from graph_samples import KINDS, OTHER_KINDS, config_of, random_values

kinds = pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)


class Products(TorchDispatchMode):
    """Counts the multiplications of every convolution and matrix product that torch really runs."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if "conv" in name:
            self.total += out.numel() * math.prod(args[1].shape[1:])
        elif name in ("addmm", "addmm_"):
            self.total += args[1].numel() * args[2].shape[1]
        elif name == "linear":
            self.total += args[0].numel() * args[1].shape[0]
        elif name in ("mm", "bmm", "matmul", "baddbmm", "einsum"):
            raise AssertionError(f"{name} is not counted here")
        return out


def upscaler_of(config: NetworkConfig, **options: Any) -> Upscaler:
    draw = random_values(0)
    tensors = {name: draw(name, shape) for name, shape in tensor_shapes(config).items()}
    return Upscaler(Model(config, tensors), Execution(backend="torch", **options))


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("backbone", "depth_tile"), [*KINDS, *OTHER_KINDS])
def test_full_depth_costs_the_dense_network(backbone: str, depth_tile: int) -> None:
    upscaler = upscaler_of(config_of(backbone, depth_tile), border="zero")
    report, expected = upscaler(image(13, 18)).report, price(upscaler.engine.network, 13, 18)
    assert report.executed_gmacs == report.dense_gmacs == expected.total / 1e9
    parts = {"head": expected.head, "adapter": 0, "body": expected.body, "tail": expected.tail}
    assert report.parts == {name: macs / 1e9 for name, macs in parts.items()}


@kinds
@pytest.mark.parametrize("tile", [None, 9], ids=["whole", "tiles"])
@pytest.mark.parametrize("target", [{"budget": 0.8}, {"depth": 1.5}, {}], ids=str)
def test_a_plan_counts_every_product_that_runs(
    backbone: str, depth_tile: int, tile: int | None, target: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch cannot count what the native engine multiplies; test_engines.py compares the two counts.

    A cost counts the convs of the definition, whatever an engine makes of them: a folded tail takes fewer products.
    """
    monkeypatch.setattr(TensorEngine, "folds", False)
    upscaler = upscaler_of(config_of(backbone, depth_tile), tile=tile)
    with Products() as products:
        report = upscaler(image(22, 27), **target).report
    assert (report.tiles > 1) == (tile is not None)
    assert round(report.executed_gmacs * 1e9) == products.total
    plan = upscaler.prepare(image(22, 27)).plan(**target)
    assert plan.cost.total == products.total
