"""Training: a recipe of dense and adaptive stages to a finished checkpoint. Starts on a bare PyTorch machine.

recipe       network and stages, from YAML
reading      YAML to dataclasses, with errors that name the key
checks       what all stages need, before the first step
session      a training from its options; `python -m adadsr.training` and `adadsr train` parse them
loop         stage after stage, with states, rollbacks and validation
divergence   spike detection
trainer      one run in memory, and its step
depths       depths of a step: drawn, and met by the adapter's maps
forward      the forward pass that is differentiated
optimizers   Adam and Muon, learning rates
start        weights that a run starts with
teacher      a second target next to the photos; `liif` is one, `targets` computes some before a stage
validation   PSNR at shares of the body's cost
state, log   what a run keeps on disk
distributed  several devices
"""

from adadsr.training.loop import Pace, Run
from adadsr.training.recipe import Recipe, Stage
from adadsr.training.session import Session, default_cache, train
from adadsr.training.trainer import Trainer
from adadsr.training.validation import validate

__all__ = ["Pace", "Recipe", "Run", "Session", "Stage", "Trainer", "default_cache", "train", "validate"]
