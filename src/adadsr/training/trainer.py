"""One run in memory: network, moving average, optimizer, position, random numbers; and its step."""

from dataclasses import asdict
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adadsr.datasets import PatchSampler, TrainingImages
from adadsr.errors import InputError
from adadsr.losses import LOSSES, depth_excess, l1
from adadsr.models import Network
from adadsr.models.layers import ResidualBlock
from adadsr.training.clock import Clock
from adadsr.training.depths import desired_depths, uniform_depth
from adadsr.training.distributed import World
from adadsr.training.folded_tail import inside
from adadsr.training.forward import make_forward
from adadsr.training.optimizers import Optimizers
from adadsr.training.recipe import Recipe, Stage
from adadsr.training.schedule import learning_rate
from adadsr.training.start import interpolating_init, start_from
from adadsr.training.state import State
from adadsr.training.teacher import load_teacher


class Step(NamedTuple):
    """What one step saw, on the device: the L1 distance to the HR patches in 0..255 units, the gradient's norm."""

    loss: Tensor
    norm: Tensor


class Trainer:
    """The state of one run. `begin` enters a stage, `advance` makes a step of it.

    position: stage and step that come next. rollbacks: how often the run went back to an earlier state; each time the
    learning rate was halved.
    """

    def __init__(self, recipe: Recipe, images: TrainingImages, world: World) -> None:
        """images: of the recipe's scale, on the world's device."""
        torch.manual_seed(recipe.seed)
        self.recipe, self.images, self.world, self.clock = recipe, images, world, Clock(world.device)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        network = Network(recipe.config)
        if recipe.start_from:
            start_from(network, recipe.start_from)
        else:
            interpolating_init(network)
        self.network = network.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))  # type: ignore[no-untyped-call]
        self.optimizers = Optimizers(self.network, world.device, muon=recipe.optimizer == "muon")
        self.stage, self.step, self.rollbacks = 0, 0, 0

    @property
    def averaged(self) -> Network:
        """The network with the moving average of the weights."""
        network = self.average.module
        assert isinstance(network, Network)
        return network

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        stage = self.recipe.stages[self.stage]
        return float(learning_rate(stage, self.step, self.recipe.warmup) * 0.5**self.rollbacks)

    def state(self) -> State:
        """Everything that a later process needs to go on with the same losses."""
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        weights |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        random = {"generator": self.generator.get_state()}
        about = {"recipe": asdict(self.recipe), "stage": self.stage, "step": self.step, "rollbacks": self.rollbacks}
        return State({"weights": weights, "optimizer": self.optimizers.tensors() | random}, about)

    def restore(self, state: State) -> None:
        """Go on from a state. Raises InputError for one of another recipe, which names the keys that differ."""
        theirs = Recipe.from_dict(state.about["recipe"])
        if theirs != self.recipe:
            ours, other = asdict(self.recipe), asdict(theirs)
            keys = ", ".join(key for key in ours if ours[key] != other[key])
            raise InputError(f"the state is of another recipe ({keys} differ); choose another --out or remove it")
        weights, optimizer = state.parts["weights"], dict(state.parts["optimizer"])
        for prefix, module in (("network.", self.network), ("average.", self.average)):
            module.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)})
        self.generator.set_state(optimizer.pop("generator"))
        self.optimizers.load_tensors(optimizer)
        self.stage, self.step, self.rollbacks = (state.about[name] for name in ("stage", "step", "rollbacks"))

    def slow_down(self, rollbacks: int) -> None:
        """Halve the learning rate once for each rollback, and draw other patches from here on."""
        self.rollbacks = rollbacks
        self.generator.manual_seed(hash((self.recipe.seed, self.stage, self.step, rollbacks)) % 2**62)

    def begin(self) -> None:
        """Get ready for the steps of the current stage. Raises AdaDSRError where its images or teacher do not fit."""
        stage = self.recipe.stages[self.stage]
        self.part = self.world.part(stage.batch, stage.shared_depth)
        self.sampler = PatchSampler(self.images, stage.patch, self.generator)
        self.teacher = load_teacher(self.recipe, stage, self.world.device)
        if self.network.adapter is not None:
            self.network.adapter.requires_grad_(stage.adaptive)
        # A step at one depth everywhere leaves the adapter and the blocks beyond without gradients.
        self.forward = self.world.shared(make_forward(self.network, self.recipe), unused=stage.uniform_share > 0)

    def advance(self) -> Step:
        """One optimizer step of the current stage."""
        stage = self.recipe.stages[self.stage]
        with self.clock.timing("data"):
            lr, hr = self.sampler.batch(stage.batch, self.part)
            desired, uniform = self._depths(stage)
        with self.clock.timing("step"):
            loss, distance = self._losses(stage, lr, hr, desired, uniform)
            self.optimizers.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if uniform is not None:
                _forget_beyond(self.network, uniform)
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
            self.optimizers.step(self.rate)
            self.average.update_parameters(self.network)
        self.step += 1
        return Step(distance, norm)

    def _depths(self, stage: Stage) -> tuple[Tensor | None, int | None]:
        """The desired depth of each of this process's images, and the depth that runs everywhere instead, if any."""
        if not stage.adaptive:
            return None, None
        blocks = self.network.config.n_resblocks
        depths = desired_depths(stage, blocks, self.generator)
        uniform = uniform_depth(stage, blocks, self.generator) if stage.uniform_share else None
        return depths[self.part].to(self.world.device, non_blocking=True), uniform

    def _losses(
        self, stage: Stage, lr: Tensor, hr: Tensor, desired: Tensor | None, uniform: int | None
    ) -> tuple[Tensor, Tensor]:
        """What is minimised, and the L1 distance to the HR patches."""
        sharing, distance, hr = (stage.shared_depth, stage.full_of_shared), LOSSES[stage.loss], inside(hr)
        result = self.forward(lr, desired, sharing, uniform)
        loss = distance(result.sr, hr)
        if self.teacher is not None:
            loss = torch.lerp(loss, distance(result.sr, self.teacher.target(lr)), self.teacher.weight)
        if result.depth_map is not None and desired is not None and stage.depth_weight:
            loss = loss + stage.depth_weight * depth_excess(result.depth_map, desired)
        return loss, l1(result.sr.detach(), hr)


def _forget_beyond(network: Network, blocks: int) -> None:
    """No gradients for blocks after the first of each group: compiled they ran times 0; momentum would move them."""
    groups = [module for module in network.body.modules() if isinstance(module, nn.ModuleList)]
    for module in (block for group in groups for block in group[blocks:] if isinstance(block, ResidualBlock)):
        for parameter in module.parameters():
            parameter.grad = None
