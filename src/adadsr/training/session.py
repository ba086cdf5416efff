"""A training from options: what both commands run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from adadsr import atomic
from adadsr.caches import cache_folder
from adadsr.datasets import TrainingImages, load_pairs
from adadsr.errors import TrainingError
from adadsr.training.distributed import World, join, leave
from adadsr.training.log import Board, Entry
from adadsr.training.loop import Pace, Run
from adadsr.training.recipe import Recipe
from adadsr.training.trainer import Trainer

Watch = Callable[[Entry], None]


def default_cache() -> Path | None:
    """Where LR images are kept unless told otherwise; None, so that they are made anew, where nobody has a home."""
    try:
        return cache_folder() / "lr"
    except RuntimeError:
        return None


@dataclass(frozen=True)
class Session:
    """recipe: a file. train, valid: folders of HR images, searched recursively. out: folder of state, log and result.

    cache: folder where LR images are kept; None makes them anew. device: torch's name, or auto. tensorboard: whether
    to write its curves to out/board.
    """

    recipe: Path
    train: Path
    valid: Path
    out: Path
    pace: Pace
    cache: Path | None = None
    device: str = "auto"
    tensorboard: bool = False


def train(session: Session, watch: Sequence[Watch] = ()) -> Path | None:
    """Train a recipe to its end, from where an earlier call was interrupted; returns the finished checkpoint.

    watch: is told what happens. Under `torchrun` only the first process tells, writes and returns the path.
    """
    recipe = Recipe.from_yaml(session.recipe)
    world = join(session.device)
    try:
        pairs = load_pairs(session.train, recipe.scale, session.cache)
        valid = load_pairs(session.valid, recipe.scale, session.cache) if world.writes else []
        trainer = Trainer(recipe, TrainingImages(pairs, recipe.scale, world.device), world)
        del pairs
        watchers = [*watch, *_boards(session, recipe, world)]
        return Run(trainer, valid, _made(session.out), session.pace, watchers).go()
    finally:
        leave(world)


def _boards(session: Session, recipe: Recipe, world: World) -> list[Watch]:
    if not session.tensorboard or not world.writes:
        return []
    return [Board(session.out / "board", [0, *accumulate(stage.steps for stage in recipe.stages)])]


def _made(out: Path) -> Path:
    try:
        atomic.make_folder(out)
    except OSError as error:
        raise TrainingError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    return out
