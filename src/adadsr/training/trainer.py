"""The state of one run and its step: network, moving average, optimizer, position and random numbers."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adadsr import atomic
from adadsr.datasets import Pair, PatchSampler
from adadsr.errors import InputError
from adadsr.losses import depth_excess, l1
from adadsr.models import Network
from adadsr.training.depths import desired_depths, hardness
from adadsr.training.folded_tail import inside
from adadsr.training.forward import Forward
from adadsr.training.recipe import Recipe, Stage
from adadsr.training.start import interpolating_init, start_from
from adadsr.training.teacher import Teacher, load_teacher


class Trainer:
    """The state of one run. `begin` enters a stage, `advance` makes a step of it."""

    def __init__(self, recipe: Recipe, pairs: list[Pair], device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.pairs, self.device = recipe, pairs, device
        self.generator = torch.Generator().manual_seed(recipe.seed)
        network = Network(recipe.config)
        if recipe.start_from:
            start_from(network, recipe.start_from)
        else:
            interpolating_init(network)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward = Forward(self.network, bfloat16=recipe.precision == "bfloat16")
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))  # type: ignore[no-untyped-call]
        adapter = [] if network.adapter is None else list(network.adapter.parameters())
        kept = {id(parameter) for parameter in adapter}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in kept]
        groups = [{"params": rest}, {"params": adapter}] if adapter else [{"params": rest}]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.stage, self.step = 0, 0

    @property
    def averaged(self) -> Network:
        """The network with the moving average of the weights."""
        network = self.average.module
        assert isinstance(network, Network)
        return network

    def state(self) -> dict[str, object]:
        """Everything that a later process needs to go on with the same losses."""
        return {
            "recipe": json.dumps(asdict(self.recipe)),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "position": (self.stage, self.step),
        }

    def load(self, path: Path) -> None:
        """Go on from a state saved by `save`; a state of another recipe raises InputError."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != json.dumps(asdict(self.recipe)):
            raise InputError(f"{path}: belongs to another recipe; choose another --out or remove it")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.stage, self.step = state["position"]

    def save(self, path: Path) -> None:
        """Write the state; an interruption leaves the previous file."""
        with atomic.replacing(path) as hidden:
            torch.save(self.state(), hidden)

    def begin(self, stage: Stage) -> None:
        """Get ready for the steps of a stage. Raises AdaDSRError where its images or its teacher do not fit."""
        self.sampler = PatchSampler(self.pairs, self.recipe.scale, stage.patch, self.generator)
        self.teacher = load_teacher(self.recipe, stage, self.device)

    def advance(self, stage: Stage) -> float:
        """One optimizer step; returns the L1 distance to the HR patches in 0..255 units."""
        lr, hr = (image.to(self.device, non_blocking=True) for image in self.sampler.batch(stage.batch))
        lr = lr.contiguous(memory_format=torch.channels_last)
        desired = None
        if stage.adaptive:
            desired = desired_depths(stage, self.network.config.n_resblocks, self.generator).to(self.device)
        result = self.forward(lr, desired, hardness(stage, self.step), shared_depth=stage.shared_depth)
        fidelity = l1(result.sr, inside(hr))
        loss = fidelity if self.teacher is None else self._distilled(self.teacher, fidelity, lr, result.sr)
        if desired is not None and stage.depth_weight:
            loss = loss + stage.depth_weight * depth_excess(result.depth_map, desired)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        for group, factor in zip(self.optimizer.param_groups, (1.0, stage.adapter_rate), strict=False):
            group["lr"] = factor * self._learning_rate(stage)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(fidelity.detach())

    def _distilled(self, teacher: Teacher, fidelity: Tensor, lr: Tensor, sr: Tensor) -> Tensor:
        """The distances to the HR patches and to the teacher's output, mixed by the teacher's weight."""
        with torch.no_grad():
            target = teacher.forward(lr).sr
        return torch.lerp(fidelity, l1(sr, target), teacher.weight)

    def _learning_rate(self, stage: Stage) -> float:
        warm = min(1.0, (self.step + 1) / self.recipe.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / stage.steps))
        return stage.learning_rate * warm * (0.01 + 0.99 * cosine)
