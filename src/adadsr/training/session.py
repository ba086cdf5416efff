"""A training from its options: what both commands run."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from adadsr import atomic
from adadsr.datasets import Pair, TrainingImages, load_pairs
from adadsr.errors import TrainingError, cause_of
from adadsr.machine import cache_folder
from adadsr.training.distributed import World, join, leave
from adadsr.training.log import Board, Observer
from adadsr.training.loop import Pace, Run
from adadsr.training.recipe import Recipe
from adadsr.training.trainer import Trainer
from adadsr.training.validation import load_valid


@dataclass(frozen=True)
class Session:
    """Options of one training.

    recipe: a file. train, valid: folders of HR images, searched recursively. out: folder for state, log and model.
    cache: folder for LR images and teachers' targets; None caches nothing. device: as torch names it, or auto.
    tensorboard: whether to write curves to out/board. convs: what runs the 3x3 convs, one of `convs.CONVS`.
    """

    recipe: Path
    train: Path
    valid: Path
    out: Path
    pace: Pace
    cache: Path | None = None
    device: str = "auto"
    tensorboard: bool = False
    convs: str = "auto"


def default_cache() -> Path | None:
    """Cache folder for LR images; None, which disables caching, if there is no home folder."""
    try:
        return cache_folder() / "lr"
    except RuntimeError:
        return None


def train(session: Session, observers: Sequence[Observer] = ()) -> Path | None:
    """Train a recipe to its end, resuming what an earlier call began. Returns the finished checkpoint.

    Under `torchrun` only the first process writes, calls the observers and returns a path. Raises AdaDSRError.
    """
    recipe = Recipe.from_yaml(session.recipe)
    world = join(session.device)
    try:
        with owned(session.out, "--out") if world.writes else contextlib.nullcontext():
            return _trained(session, recipe, world, observers)
    finally:
        leave(world)


def _trained(session: Session, recipe: Recipe, world: World, observers: Sequence[Observer]) -> Path | None:
    """`train` while no other run writes to the folder."""
    valid: list[Pair] = []
    if world.writes:  # first, since these are few
        valid = load_valid(session.valid, recipe.config, session.cache, recipe.valid_reductions)
    pairs = load_pairs(session.train, recipe.scale, session.cache, recipe.photo_reductions)
    images = TrainingImages(pairs, recipe.scale, world.device)
    del pairs
    trainer = Trainer(recipe, images, world, session.cache, session.convs)
    everybody = [*observers, *_boards(session, recipe, world)]
    return Run(trainer, valid, session.out, session.pace, everybody).go()


def _boards(session: Session, recipe: Recipe, world: World) -> list[Observer]:
    if not session.tensorboard or not world.writes:
        return []
    return [Board(session.out / "board", [0, *accumulate(stage.steps for stage in recipe.stages)])]


def writable(folder: Path, option: str) -> Path:
    """A folder, made if it is missing. option: that chose it. Raises TrainingError if files cannot be written to it."""
    try:
        atomic.make_folder(folder)
    except OSError as error:
        raise TrainingError(f"{folder}: folder is not writable ({cause_of(error)}); choose another {option}") from error
    return folder


@contextlib.contextmanager
def owned(folder: Path, option: str) -> Iterator[None]:
    """Hold a folder for the block, made if it is missing, and removed again if nothing was written. option: chose it.

    Raises TrainingError if files cannot be written to it, or while another run holds it.
    """
    is_new = not folder.exists()
    with atomic.locked(writable(folder, option)) as is_ours:
        if not is_ours:
            raise TrainingError(f"{folder}: another run is writing here; wait until it ends or choose another {option}")
        try:
            yield
        finally:
            if is_new:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()
