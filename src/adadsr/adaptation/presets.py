"""Presets: how long an adaptation trains, on what, and at which rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from adadsr.errors import InputError
from adadsr.networks import NetworkConfig
from adadsr.training import Recipe, Stage
from adadsr.training.precision import fastest_precision

DEPTH_TILE = 4
AVERAGES = 20
"""The moving average of the weights spans 1/AVERAGES of the steps."""
ADAPTER_STEPS = 2000
"""Of the adapter, at most, in networks with exits; their closing convs learn for the rest (dev/LOG.md)."""
ADAPTER_SHARE = 1 / 3
"""Of all steps, at most, in networks with exits."""
WITH_EXITS = ("esrgan",)
"""Backbones whose exits get closing convs of their own."""
PRECISIONS = ("auto", "float32", "bfloat16")
"""Values of the option; auto is bfloat16 where a device multiplies it faster than float32."""


@dataclass(frozen=True)
class Preset:
    """How an adaptation trains.

    steps: of all stages. batch, patch (side in LR pixels), warmup: as in a recipe.
    crops: of that side, to learn from. every: steps between validations. held: photos to measure on, at most.
    """

    steps: int
    batch: int
    patch: int
    crops: int
    every: int
    held: int
    warmup: int = 200

    def recipe(self, source: str, dense: NetworkConfig, precision: str) -> Recipe:
        """The recipe that adapts a network. source: its checkpoint. precision: of training."""
        config = replace(dense, adaptive=True, depth_tile=DEPTH_TILE, exits=dense.backbone in WITH_EXITS)
        return Recipe(
            config.kind,
            config.scale,
            DEPTH_TILE,
            self.stages(dense),
            ema_decay=max(0.5, 1 - AVERAGES / self.steps),
            warmup=self.warmup,
            start_from=source,
            precision=precision,
            optimizer="adam" if config.exits else "muon",
            sizes=config,
        )

    def stages(self, dense: NetworkConfig) -> tuple[Stage, ...]:
        """The stages that adapt a network.

        With exits it keeps its weights, and so its output at full depth: the adapter learns first, then the closing
        convs by its maps. In other networks all weights learn.
        """
        return self._stages_of_exits() if dense.backbone in WITH_EXITS else (self._stage_of_all(),)

    def _stage_of_all(self) -> Stage:
        return Stage(
            self.steps,
            self.batch,
            self.patch,
            5e-4,
            loss="texture",
            adaptive=True,
            full_share=0.1,
            least_share=0.25,
            uniform_share=0.4,
            augment=False,
        )

    def _stages_of_exits(self) -> tuple[Stage, ...]:
        of_adapter = min(ADAPTER_STEPS, math.ceil(ADAPTER_SHARE * self.steps))
        adapter = Stage(
            of_adapter,
            self.batch,
            self.patch,
            1e-3,
            loss="texture",
            train="adapter",
            adaptive=True,
            full_share=0.0,
            least_share=0.15,
            uniform_share=0.2,
            exits=4,
            augment=False,
        )
        if of_adapter == self.steps:
            return (adapter,)
        return adapter, replace(adapter, steps=self.steps - of_adapter, learning_rate=2e-4, train="exits", exits=2)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cpu": Preset(6000, 2, 48, 3000, 1000, 20),
        "accelerator": Preset(60_000, 16, 64, 20_000, 5000, 20),
        "quick": Preset(200, 2, 32, 200, 100, 3, warmup=20),
    }
)
"""Name -> preset; the first one is the default."""


def check_precision(name: str) -> None:
    """Raise InputError unless this is one of PRECISIONS."""
    if name not in PRECISIONS:
        raise InputError(f"precision {name!r} is not one of {', '.join(PRECISIONS)}")


def choose_precision(name: str, device: torch.device) -> str:
    """The precision that trains. name: one of PRECISIONS. Raises InputError for another."""
    check_precision(name)
    return fastest_precision(device) if name == "auto" else name
