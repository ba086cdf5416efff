"""Adaptation: a dense network becomes adaptive by learning from its own output at full depth. Needs no HR images.

presets    how long, on what, at which rate
photos     the photos of a user, which of them are held out, and the crops to learn from
targets    the network's own output on crops, cached
exits      closing convs of the exits, fitted before training
resuming   whether a saved state belongs to the command
adapting   from options to a finished checkpoint, by `adadsr.training`
fidelity   PSNR to its own full output against cost: adapted maps, one depth everywhere, the network cut off
report     these figures as Markdown, JSON and pictures
"""

from adadsr.adaptation.adapting import Adaptation, adapt, stage_steps
from adadsr.adaptation.presets import PRECISIONS, PRESETS, Preset

__all__ = ["PRECISIONS", "PRESETS", "Adaptation", "Preset", "adapt", "stage_steps"]
