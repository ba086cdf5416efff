"""A plain training loop: a dense stage, then an adaptive stage at random depths. Resumes where it was interrupted.

`python -m adadsr.training RECIPE.yaml --train DIR --valid DIR --out DIR` needs only torch, numpy, safetensors,
PyYAML and Pillow.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adadsr import atomic, checkpoints
from adadsr.datasets import Pair, PatchSampler, load_pairs
from adadsr.errors import AdaDSRError, InputError
from adadsr.losses import depth_excess, l1
from adadsr.metrics import psnr_y
from adadsr.models import Network, build
from adadsr.models.config import DEPTH_TILES, SCALES

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Stage:
    """One part of a run.

    adaptive: sample a desired depth for each image; otherwise every block runs.
    patch: side of the LR patch in pixels. learning_rate: peak of Adam's, warmed up, then a cosine down to 1%.
    depth_weight: weight of `losses.depth_excess`; 0 where the adapter meets the desired depth by itself.
    full_share: share of images trained at full depth; the others' depths are uniform between 10% and 100%.
    """

    steps: int
    batch: int
    patch: int
    learning_rate: float
    adaptive: bool = False
    depth_weight: float = 0.0
    full_share: float = 0.25

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch"):
            _check(name, getattr(self, name), "a whole number of at least 1", lambda value: value >= 1, int)
        _check("learning_rate", self.learning_rate, "a number above 0", lambda value: value > 0, int, float)
        _check("adaptive", self.adaptive, "true or false", lambda value: True, bool)
        _check("depth_weight", self.depth_weight, "a number of at least 0", lambda value: value >= 0, int, float)
        _check("full_share", self.full_share, "a number in [0, 1]", lambda value: 0 <= value <= 1, int, float)


@dataclass(frozen=True)
class Recipe:
    """A network and the stages that train it, in order.

    start_from: a checkpoint of the same network, plain or adaptive, whose weights the run starts with; empty for fresh
    ones. precision: of the forward and backward pass; bfloat16 is autocast over float32 weights, faster where the
    device multiplies bfloat16.
    """

    network: str
    scale: int
    depth_tile: int
    stages: tuple[Stage, ...]
    seed: int = 0
    ema_decay: float = 0.999
    clip_norm: float = 10.0
    warmup: int = 200
    start_from: str = ""
    precision: str = "float32"

    def __post_init__(self) -> None:
        _check("network", self.network, "the name of a network", bool, str)
        _check("scale", self.scale, f"one of {SCALES}", lambda value: value in SCALES, int)
        _check("depth_tile", self.depth_tile, f"one of {DEPTH_TILES}", lambda value: value in DEPTH_TILES, int)
        _check("stages", self.stages, "one stage or more", bool, tuple)
        _check("seed", self.seed, "a whole number of at least 0", lambda value: value >= 0, int)
        _check("ema_decay", self.ema_decay, "a number in [0, 1)", lambda value: 0 <= value < 1, int, float)
        _check("clip_norm", self.clip_norm, "a number above 0", lambda value: value > 0, int, float)
        _check("warmup", self.warmup, "a whole number of at least 1", lambda value: value >= 1, int)
        _check("start_from", self.start_from, "the path of a checkpoint or a name", lambda value: True, str)
        _check("precision", self.precision, f"one of {PRECISIONS}", lambda value: value in PRECISIONS, str)

    @classmethod
    def from_yaml(cls, path: Path) -> "Recipe":
        """Read a recipe. An unknown or missing key, a value that is not allowed and broken YAML raise InputError."""
        import yaml

        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            stages = tuple(Stage(**stage) for stage in content.pop("stages"))
            return cls(stages=stages, **content)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: is no YAML ({reason}); see recipes/ for an example") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: {error}; the keys are those of Recipe and Stage in training.py") from error


def _check(name: str, value: object, what: str, allowed: Callable[[Any], bool], *types: type) -> None:
    """Raise InputError unless a value is of one of these types and allowed, which `what` says in words."""
    if type(value) not in types or not allowed(value):
        raise InputError(f"{name}={value!r} is not {what}")


def start_from(network: Network, source: str) -> None:
    """Take the weights of the checkpoint `source`; an adapter that only one of the two has is left as it is.

    Raises InputError where head, body and tail, or both adapters, are not those of `network`.
    """
    given = checkpoints.load_model(source)
    adapters = given.config.adaptive and network.config.adaptive
    for name, value in asdict(given.config).items():
        compared = adapters or name not in ("adaptive", "depth_tile")
        if compared and value != getattr(network.config, name):
            raise InputError(
                f"start_from={source}: {name}={value} is not that of the recipe's network; use its own kind"
            )
    network.load_state_dict(given.state_dict(), strict=False)


def interpolating_init(network: Network) -> None:
    """Start as a bilinear enlargement: RGB passes through the first three features, residual branches start small.

    What is left to learn is the detail, which takes a fraction of the steps.
    """
    with torch.no_grad():
        for group in network.body.tensors().groups:
            for block in group.blocks:
                block.conv2.weight.mul_(0.1)
        network.body.conv.weight *= 0.1
        _pass_rgb(network.head.conv, 1)
        for conv, factor in zip(network.tail.upsample, network.tail.factors, strict=True):
            assert isinstance(conv, nn.Conv2d)
            _pass_rgb(conv, factor)
        network.tail.conv.weight *= 0.01
        _pass_rgb(network.tail.conv, 1, keep=True)


def _pass_rgb(conv: nn.Conv2d, factor: int, *, keep: bool = False) -> None:
    """Let `conv` (before a PixelShuffle of `factor`) hand its first three channels on, enlarged bilinearly.

    keep: add to the weights that these channels have; otherwise they start from zero.
    """
    for colour in range(3):
        for phase in range(factor * factor):
            row, column = divmod(phase, factor)
            kernel = torch.outer(_linear_taps(row, factor), _linear_taps(column, factor))
            channel = conv.weight[colour * factor * factor + phase]
            if not keep:
                channel.zero_()
            channel[colour] += kernel
    bias = conv.bias
    assert bias is not None
    bias.zero_()


def _linear_taps(phase: int, factor: int) -> Tensor:
    """Weights of the pixels at -1, 0, 1 for sub-pixel `phase` of `factor`."""
    offset = (phase + 0.5) / factor - 0.5
    return torch.tensor([max(0.0, -offset), 1 - abs(offset), max(0.0, offset)])


class Trainer:
    """The state of one run: network, its moving average, optimizer, position and random numbers."""

    def __init__(self, recipe: Recipe, pairs: list[Pair], device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.pairs, self.device = recipe, pairs, device
        self.generator = torch.Generator().manual_seed(recipe.seed)
        network = build(recipe.network, recipe.scale, recipe.depth_tile)
        if recipe.start_from:
            start_from(network, recipe.start_from)
        else:
            interpolating_init(network)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99))
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

    def advance(self, sampler: PatchSampler, stage: Stage) -> float:
        """One optimizer step; returns the L1 loss in 0..255 units."""
        lr, hr = (image.to(self.device, non_blocking=True) for image in sampler.batch(stage.batch))
        desired = self._desired_depth(stage) if stage.adaptive else None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            result = self.network(lr.contiguous(memory_format=torch.channels_last), desired)
        fidelity = l1(result.sr.float(), hr)
        loss = fidelity
        if desired is not None and stage.depth_weight:
            loss = loss + stage.depth_weight * depth_excess(result.depth_map, desired)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(stage)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(fidelity.detach())

    def _desired_depth(self, stage: Stage) -> Tensor:
        n_blocks = self.network.config.n_resblocks
        share = torch.empty(stage.batch).uniform_(0.1, 1.0, generator=self.generator)
        full = torch.rand(stage.batch, generator=self.generator) < stage.full_share
        depths: Tensor = share.masked_fill(full, 1.0) * n_blocks
        return depths.to(self.device)

    def _learning_rate(self, stage: Stage) -> float:
        warm = min(1.0, (self.step + 1) / self.recipe.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / stage.steps))
        return stage.learning_rate * warm * (0.01 + 0.99 * cosine)


@torch.inference_mode()
def validate(network: Network, pairs: list[Pair], desired_depth: float | None) -> float:
    """Mean PSNR-Y in dB over whole images, at a desired depth or (None) at full depth."""
    network.eval()
    device = next(network.parameters()).device
    values = []
    for pair in pairs:
        sr = network(pair.lr[None].float().to(device), desired_depth).sr[0].clamp(0, 255).round().byte().cpu()
        images = [image.permute(1, 2, 0).numpy() for image in (sr, pair.hr)]
        values.append(psnr_y(images[0], images[1], network.config.scale))
    network.train()
    return sum(values) / len(values)


def _report(trainer: Trainer, valid: list[Pair], stage: Stage, loss: float, seconds: float) -> None:
    network = trainer.averaged
    n_blocks = network.config.n_resblocks
    depths: tuple[float | None, ...] = (None, n_blocks / 2, n_blocks / 4) if stage.adaptive else (None,)
    scores = {"full" if depth is None else f"{depth:g}": round(validate(network, valid, depth), 3) for depth in depths}
    entry = {"stage": trainer.stage, "step": trainer.step, "loss": round(loss, 4), "psnr_y": scores}
    print(json.dumps(entry | {"seconds_per_step": round(seconds, 3)}), flush=True)


def run(trainer: Trainer, valid: list[Pair], out: Path, *, every: int) -> None:
    """Train to the end of the last stage; the result is `out/model.safetensors`.

    every: steps between saving the state to `out/state.pt` and validating.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = out / "state.pt"
    if state.exists():
        trainer.load(state)
    stages = trainer.recipe.stages
    while trainer.stage < len(stages):
        stage = stages[trainer.stage]
        sampler = PatchSampler(trainer.pairs, trainer.recipe.scale, stage.patch, trainer.generator)
        while trainer.step < stage.steps:
            start, count = time.perf_counter(), min(every, stage.steps - trainer.step)
            losses = [trainer.advance(sampler, stage) for _ in range(count)]
            seconds = (time.perf_counter() - start) / count
            trainer.save(state)
            _report(trainer, valid, stage, sum(losses) / count, seconds)
        trainer.stage, trainer.step = trainer.stage + 1, 0
    checkpoints.save(trainer.averaged, out / "model.safetensors")


def _at_least_one(text: str) -> int:
    """An option's value as a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def main() -> None:
    """The command line of this module; see its docstring."""
    parser = argparse.ArgumentParser(description="Train a network of adadsr")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--train", type=Path, required=True, help="folder of HR images, searched recursively")
    parser.add_argument("--valid", type=Path, required=True, help="folder of HR images for validation")
    parser.add_argument("--out", type=Path, required=True, help="folder for the resumable state and the result")
    parser.add_argument("--every", type=_at_least_one, default=250, help="steps between states and validations")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        recipe = Recipe.from_yaml(arguments.recipe)
        trainer = Trainer(recipe, load_pairs(arguments.train, recipe.scale), device)
        run(trainer, load_pairs(arguments.valid, recipe.scale), arguments.out, every=arguments.every)
    except AdaDSRError as error:
        parser.exit(1, f"adadsr: {error}\n")


if __name__ == "__main__":
    main()
