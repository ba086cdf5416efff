"""What a stage needs besides its recipe, checked for all stages to come, so that none ends a run after hours."""

import torch

from adadsr.datasets import PatchSampler, TrainingImages
from adadsr.errors import AdaDSRError
from adadsr.training.distributed import World
from adadsr.training.recipe import Recipe, Stage
from adadsr.training.targets import choose_parts
from adadsr.training.teacher import check_patch, load_teacher


def check_stages(recipe: Recipe, first: int, images: TrainingImages, world: World) -> None:
    """Raise AdaDSRError, which names the stage, if images, processes or a teacher do not suit one from `first` on."""
    squares: dict[tuple[str, bool], int] = {}
    for index, stage in enumerate(recipe.stages[first:], first):
        try:
            _check_stage(recipe, stage, images, world)
            used = (stage.teacher, stage.teacher_megapixels > 0)
            if used not in squares:
                teacher = load_teacher(recipe, stage, torch.device("cpu"))
                squares[used] = teacher.square if teacher is not None else 1
            check_patch(stage, squares[used])
        except AdaDSRError as error:
            raise type(error)(f"stage {index + 1}: {error}") from error


def _check_stage(recipe: Recipe, stage: Stage, images: TrainingImages, world: World) -> None:
    world.part(stage.batch, stage.shared_depth)
    PatchSampler(images, stage.patch, torch.Generator())
    if stage.teacher_megapixels:
        choose_parts(images.sizes, images.reductions, 1e6 * stage.teacher_megapixels, stage.patch, recipe.seed)
