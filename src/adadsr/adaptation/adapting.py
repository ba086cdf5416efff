"""From options to an adaptive checkpoint and its report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adadsr import checkpoints
from adadsr.adaptation.exits import fit_exits
from adadsr.adaptation.fidelity import measure
from adadsr.adaptation.photos import Told, check_apart, find_photos
from adadsr.adaptation.presets import PRESETS, Preset, check_precision, choose_precision
from adadsr.adaptation.report import write_report
from adadsr.adaptation.resuming import check_options, check_photos
from adadsr.adaptation.targets import SEED, held_pairs, learned_pairs
from adadsr.backends import prepare
from adadsr.datasets import TrainingImages
from adadsr.errors import InputError
from adadsr.graph import PlainBlock
from adadsr.networks import Model
from adadsr.training import Pace, Run, Trainer
from adadsr.training.distributed import World, join, leave
from adadsr.training.log import Observer
from adadsr.training.session import owned, writable
from adadsr.training.state import has_state

NOT_CARRIED = ("recipe", "PSNR-Y on validation", "hours of training")
"""Keys of a checkpoint's header that an adapted one has anew. It keeps all others, such as the licence."""
REMEDY = "try --precision float32 or another --preset, with another --out"
"""Against a loss that diverges."""


@dataclass(frozen=True)
class Adaptation:
    """What to adapt, and how.

    model: a dense network, as `checkpoints.load_model` takes it. images: photos, or folders of them. out: folder for
    state, model and report. preset: a key of PRESETS. steps: instead of the preset's. precision: one of
    `presets.PRECISIONS`. device: as torch names it, or auto. cache: folder for crops and targets; None caches nothing.
    """

    model: str
    images: tuple[Path, ...]
    out: Path
    preset: str = next(iter(PRESETS))
    steps: int | None = None
    precision: str = "auto"
    device: str = "auto"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InputError(f"preset {self.preset!r} is not one of {', '.join(PRESETS)}")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps={self.steps} is not a whole number of at least 1")
        check_precision(self.precision)

    @property
    def plan(self) -> Preset:
        """The preset with the given number of steps."""
        preset = PRESETS[self.preset]
        return preset if self.steps is None else replace(preset, steps=self.steps)


def adapt(options: Adaptation, tell: Told, observers: Sequence[Observer] = ()) -> list[Path]:
    """Make a dense network adaptive, or resume doing so. Returns the checkpoint and the files of the report.

    tell: is told what happens before and after training. observers: of training. Raises AdaDSRError.
    """
    original = load_dense(options.model)
    check_apart(options.images, options.out)
    world = join(options.device)
    try:
        if world.size > 1:
            raise InputError(f"an adaptation runs in one process, not in {world.size}; start it without torchrun")
        with owned(options.out, "--out"):
            return _adapted(options, original, world, tell, observers)
    finally:
        leave(world)


def _adapted(
    options: Adaptation, original: Model, world: World, tell: Told, observers: Sequence[Observer]
) -> list[Path]:
    """`adapt` while no other run writes to the folder."""
    preset, device, out, cache = options.plan, world.device, options.out, options.cache
    recipe = preset.recipe(options.model, original.config, choose_precision(options.precision, device))
    check_options(out, options.model, original.digest(), options.preset, recipe)
    if cache is not None:
        writable(cache, "--cache")
    split = find_photos(options.images, preset.patch, preset.held, SEED, cache, out, tell)
    if split.left_out:
        tell(f"left out: {split.left_out}", 1.0)
    for small in split.small:
        tell(f"left out {small}: smaller than {preset.patch}x{preset.patch}", 1.0)
    check_photos(out, split)
    engine = prepare(original.weights(), device=str(device))
    held = held_pairs(engine, split)
    pairs = learned_pairs(engine, original.digest(), split, preset.patch, preset.crops, cache, tell)
    trainer = Trainer(recipe, TrainingImages(pairs, recipe.scale, device), world)
    if recipe.config.exits and not has_state(out / "state"):
        fit_exits(trainer.network, pairs, recipe.precision, tell)
    del pairs, engine
    about = {"photos": split.digest, "preset": options.preset}
    path = Run(trainer, held, out, Pace(preset.every), observers, _kept(options.model), about, REMEDY).go()
    assert path is not None  # the only process is the one that writes
    figures = measure(original, checkpoints.load(path), held, str(device), tell)
    return [path, *write_report(out / "report", figures, checkpoints.model_name(options.model))]


def stage_steps(options: Adaptation) -> list[int]:
    """Steps of each stage. Raises AdaDSRError as `load_dense`."""
    return [stage.steps for stage in options.plan.stages(load_dense(options.model).config)]


def load_dense(source: str) -> Model:
    """The network to adapt. Raises InputError for one that is adaptive already or whose blocks cannot be left out."""
    model = checkpoints.load_model(source)
    kind = checkpoints.describe(model.config)
    if model.config.adaptive:
        raise InputError(f"{source} ({kind}) is adaptive already; pass the dense network, or `adadsr train` this one")
    if any(isinstance(block, PlainBlock) for block in model.weights().body.blocks):
        raise InputError(
            f"{source} ({kind}): its blocks add nothing to their input, so none can be left out; pass a network of "
            "residual blocks"
        )
    return model


def _kept(source: str) -> dict[str, str]:
    """What the header of the adapted network says besides its training."""
    kept = {key: value for key, value in checkpoints.model_metadata(source).items() if key not in NOT_CARRIED}
    return kept | {"adapted_from": checkpoints.model_name(source), "validation": "PSNR to its own full output before"}
