"""Training: a recipe of dense and adaptive stages to a finished checkpoint. Starts on a bare PyTorch machine."""

from adadsr.training.loop import run
from adadsr.training.recipe import Recipe, Stage
from adadsr.training.start import interpolating_init, start_from
from adadsr.training.trainer import Trainer
from adadsr.training.validation import validate

__all__ = ["Recipe", "Stage", "Trainer", "interpolating_init", "run", "start_from", "validate"]
