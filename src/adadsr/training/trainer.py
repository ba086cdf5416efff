"""One run in memory: network, moving average, optimizer, position, random numbers; and its step."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adadsr.datasets import Pair, PatchSampler, TrainingImages
from adadsr.errors import CheckpointError, InputError
from adadsr.graph import BodyWeights, map_arrays
from adadsr.losses import LOSSES, decibels, depth_excess, error_deviance, l1
from adadsr.networks import Network
from adadsr.training.convs import choose_convs
from adadsr.training.depths import (
    AdapterDepths,
    ComparedDepths,
    StepDepths,
    UniformDepths,
    by_depth,
    draw_depths,
    one_color,
    part_of,
    random_maps,
)
from adadsr.training.distributed import World
from adadsr.training.forward import Trained, crop_border, cropped_tile_errors, make_forward
from adadsr.training.log import Clock
from adadsr.training.optimizers import Optimizers, learning_rate
from adadsr.training.predicted_loss import PredictedLossForward
from adadsr.training.recipe import Recipe, Stage, differences
from adadsr.training.sensitivity import rate_factors
from adadsr.training.start import expect_typical_errors, interpolating_init, start_from
from adadsr.training.state import State
from adadsr.training.targets import TargetMaker
from adadsr.training.teacher import load_teacher

START_PIXELS = 2**15
"""LR pixels of the patches that a start may look at."""
SUITS_ALL = Stage(steps=1, batch=1, patch=16, learning_rate=1.0)
"""A stage that every network can train."""


class Step(NamedTuple):
    """Figures of one step, on the device: the L1 distance to the HR patches in 0..255, and the gradient's norm."""

    loss: Tensor
    norm: Tensor


class Trainer:
    """One run in memory. `begin` enters the stage that is next, `advance` makes its next step.

    stage, step: the next ones, from 0. rollbacks: how often the stage returned to an earlier state; each time its
    learning rate was halved. reference: the adapter at the start of a stage that keeps its proportions
    (`PredictedLossForward`), by name; empty in others.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: TrainingImages,
        world: World,
        cache: Path | None = None,
        convs: str = "auto",
    ) -> None:
        """images: of the recipe's scale, on the world's device. cache: folder for a teacher's targets.

        convs: what runs the 3x3 convs, one of `convs.CONVS`. Raises BackendError for native where it cannot run.
        """
        self.recipe, self.images, self.world, self.cache = recipe, images, world, cache
        self.chosen, self.convs = convs, choose_convs(convs, recipe, world.device)
        self.clock = Clock(world.device)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        network = Network(recipe.config, torch.Generator().manual_seed(recipe.seed))
        expect_typical_errors(network)
        self.start_digest = ""
        if recipe.start_from:
            self.start_digest = start_from(network, recipe.start_from, self._some_lr)
        else:
            interpolating_init(network)
        factors = rate_factors(network, self._some_lr()) if recipe.even_rates else {}
        self.network = network.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = self.network.weights()
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))  # type: ignore[no-untyped-call]
        self._make_optimizers(factors)
        self.stage, self.step, self.rollbacks = 0, 0, 0
        self.reference: dict[str, Tensor] = {}

    @property
    def averaged(self) -> Network:
        """The network with the moving average of the weights."""
        network = self.average.module
        assert isinstance(network, Network)
        return network

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        stage = self.recipe.stages[self.stage]
        return float(learning_rate(stage, self.step, self.recipe.warmup) * 0.5**self.rollbacks)

    def _some_lr(self) -> Tensor:
        """LR patches of the photos, (N, 3, H, W) in 0..255, on the CPU, by random numbers of their own."""
        patch = self.recipe.stages[0].patch
        sampler = PatchSampler(self.images, patch, torch.Generator().manual_seed(self.recipe.seed))
        return sampler.batch(-(-START_PIXELS // patch**2)).lr.cpu().float()

    def _make_optimizers(self, factors: dict[str, float]) -> None:
        """factors: of the learning rate, by the names of parameters."""
        self.factors, muon = factors, self.recipe.optimizer == "muon"
        self.optimizers = Optimizers(self.network, self.world.device, muon=muon, factors=factors)

    def state(self) -> State:
        """Everything that a later process needs to continue with the same losses."""
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        weights |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        weights |= {f"reference.{name}": value for name, value in self.reference.items()}
        random = {"generator": self.generator.get_state()}
        about = {"recipe": asdict(self.recipe), "stage": self.stage, "step": self.step, "rollbacks": self.rollbacks}
        about["rate_factors"] = self.factors
        return State({"weights": weights, "optimizer": self.optimizers.tensors() | random}, about)

    def restore(self, state: State) -> None:
        """Continue from a state. Stages that it has not begun may be others than in its recipe.

        Raises InputError for another recipe, which names the keys that differ.
        """
        begun, saved = state.about["stage"] + (state.about["step"] > 0), state.about["recipe"]
        # Without the stages that may change: what is wrong with them may have been repaired.
        theirs = Recipe.from_dict(saved | {"stages": [*saved["stages"][:begun], asdict(SUITS_ALL)]})
        if keys := differences(self.recipe, theirs, begun):
            raise InputError(
                f"the state belongs to a recipe that differs in {', '.join(keys)}; choose another --out or delete it"
            )
        weights, optimizer = state.parts["weights"], dict(state.parts["optimizer"])
        for prefix, module in (("network.", self.network), ("average.", self.average)):
            module.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)})
        self.reference = {k.removeprefix("reference."): v for k, v in weights.items() if k.startswith("reference.")}
        self.generator.set_state(optimizer.pop("generator"))
        # Measured anew, factors may differ: by version, or by rounding on another machine.
        self._make_optimizers(state.about["rate_factors"])
        self.optimizers.load_tensors(optimizer)
        self.stage, self.step, self.rollbacks = (state.about[name] for name in ("stage", "step", "rollbacks"))

    def slow_down(self, rollbacks: int) -> None:
        """Halve the learning rate once per rollback, and draw other patches from here on."""
        self.rollbacks = rollbacks
        self.generator.manual_seed(hash((self.recipe.seed, self.stage, self.step, rollbacks)) % 2**62)

    def begin(self, tell: Callable[[float], None] = lambda share: None) -> None:
        """Prepare the steps of the current stage. Raises AdaDSRError if its images or teacher do not fit.

        tell: see `TargetMaker.cut`.
        """
        stage, images = self.recipe.stages[self.stage], self.images
        self.part = self.world.part(stage.batch, stage.shared_depth)
        # Anew, without the memory that an earlier stage needed.
        self.convs = choose_convs(self.chosen, self.recipe, self.world.device)
        self.teacher = load_teacher(self.recipe, stage, self.world.device, self.convs)
        if self.teacher is not None and stage.teacher_megapixels:
            images = TargetMaker(self.teacher, self.recipe.seed, self.world, self.cache).cut(images, stage, tell)
        self.sampler = PatchSampler(images, stage.patch, self.generator, augment=stage.augment)
        self.network.requires_grad_(stage.train == "all")
        learns_exits = stage.adaptive and stage.train in ("all", "exits")
        map_arrays(self.weights.adapter, lambda parameter: parameter.requires_grad_(stage.teaches_adapter))
        map_arrays(self.weights.body.exits, lambda parameter: parameter.requires_grad_(learns_exits))
        self._keep_reference(stage)
        forward = make_forward(self.network, self.recipe, self.convs)
        module = PredictedLossForward(forward, self.reference) if self.reference else forward
        # A step at one depth everywhere leaves the adapter and the deeper blocks without gradients.
        self.forward = self.world.shared(module, unused=stage.uniform_share > 0)

    def _keep_reference(self, stage: Stage) -> None:
        """Remember the adapter where a stage begins that keeps its proportions, and forget it in others.

        Raises CheckpointError if such a stage was resumed without it.
        """
        adapter = {name: value for name, value in self.network.state_dict().items() if name.startswith("adapter.")}
        if stage.train != "predicted_loss":
            self.reference = {}
        elif self.step == 0:
            self.reference = {name: value.clone() for name, value in adapter.items()}
        elif set(self.reference) != set(adapter):
            raise CheckpointError("the state lacks the adapter that its stage began with; delete it to start again")

    def advance(self) -> Step:
        """One optimizer step of the current stage."""
        stage = self.recipe.stages[self.stage]
        with self.clock.timing("data"):
            batch = self.sampler.batch(stage.batch, self.part)
            batch = self.sampler.with_flat(batch, stage.flat_share, stage.batch, self.part)
            seen = self.sampler.as_photos(batch.lr, stage.photo_share, self.part)
            depths = part_of(self._depths(stage), self.part, self.world.device)
        with self.clock.timing("step"):
            loss, distance = self._losses(stage, batch, seen, depths)
            self.optimizers.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if isinstance(depths, UniformDepths):
                _forget_beyond(self.weights.body, max(depths.blocks))
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
            self.optimizers.step(self.rate)
            self.average.update_parameters(self.network)
        self.step += 1
        return Step(distance, norm)

    def _depths(self, stage: Stage) -> StepDepths:
        """Depths of a whole batch, on the CPU."""
        n_blocks, side = self.network.config.n_resblocks, stage.patch // self.network.config.unshuffle
        depths = draw_depths(stage, n_blocks, self.generator)
        if not (isinstance(depths, AdapterDepths) and stage.flat_share):
            return depths
        if not self.weights.require_adapter().predicts_errors:
            return depths  # its maps are what such an adapter learns from
        tiles = self.weights.map_shape(side, side)[-1]
        return replace(depths, color_maps=random_maps(stage.batch, tiles, n_blocks, self.generator))

    def _losses(self, stage: Stage, batch: Pair, seen: Tensor, depths: StepDepths) -> tuple[Tensor, Tensor]:
        """What is minimised, and the L1 distance to the HR patches. seen: the LR patches as the network gets them."""
        loss_of, scale = LOSSES[stage.loss], self.recipe.scale
        if loss_of is decibels:
            loss_of = partial(decibels, mean=self.world.mean)
        hr = crop_border(batch.hr, scale)
        if isinstance(depths, ComparedDepths):
            loss, sr = self.forward(seen, hr, depths)
            return loss, l1(sr, hr)
        result = self.forward(seen, depths)
        exits = len(result.sr) // len(hr)
        hr = hr.repeat(exits, 1, 1, 1)
        flat = one_color(seen).repeat(exits)
        weights = torch.where(flat, stage.flat_weight, 1.0)[:, None, None, None]

        def weighted(target: Tensor) -> Tensor:
            shown, wanted = (by_depth(images, depths) for images in (torch.lerp(target, result.sr, weights), target))
            losses = [len(each[0]) * loss_of(*each) for each in zip(shown, wanted, strict=True)]
            return torch.stack(losses).sum() / len(target)

        loss = weighted(hr)
        if self.teacher is not None:
            target = self.teacher.target(batch.lr) if batch.target is None else crop_border(batch.target, scale)
            loss = torch.lerp(loss, weighted(target.repeat(exits, 1, 1, 1)), stage.teacher_weight)
        if isinstance(depths, AdapterDepths) and stage.depth_weight:
            loss = loss + stage.depth_weight * depth_excess(result.depth_map, depths.desired)
        if stage.teaches_adapter and result.predicted_error is not None:
            loss = loss + self._surprise(result, hr, flat)
        return loss, l1(result.sr.detach(), hr)

    def _surprise(self, result: Trained, hr: Tensor, flat: Tensor) -> Tensor:
        """How far the adapter's prediction is from the errors that a step left. hr: without its border.

        flat: which patches are of one colour, (N,). They count as perfect, so that all of such a picture is predicted
        to gain nothing and gets one depth: a step between two depths would be seen there.
        """
        assert result.predicted_error is not None
        shown = result.sr.detach().clamp(0, 255)  # what lies beyond is cut off in every picture
        shown = torch.where(flat[:, None, None, None], hr, shown)
        tile = self.weights.depth_tile * self.weights.scale
        errors = cropped_tile_errors(shown, hr, tile, self.recipe.scale)
        return error_deviance(result.predicted_error[..., : errors.shape[-2], : errors.shape[-1]], errors)


def _forget_beyond(body: BodyWeights, blocks: int) -> None:
    """Drop the gradients of all but the first blocks of each group: compiled they ran, and momentum would move them."""

    def forget(parameter: Tensor) -> None:
        parameter.grad = None

    for group in body.groups:
        map_arrays(group.blocks[blocks:], forget)
