"""Training: a recipe of dense and adaptive stages to a finished checkpoint. Starts on a bare PyTorch machine."""

from adadsr.training.loop import Pace, Run
from adadsr.training.recipe import Recipe, Stage
from adadsr.training.session import Session, train
from adadsr.training.trainer import Trainer
from adadsr.training.validation import validate

__all__ = ["Pace", "Recipe", "Run", "Session", "Stage", "Trainer", "train", "validate"]
