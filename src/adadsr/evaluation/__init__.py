"""Evaluation: figures that can be held against the literature's, beside what was executed and how long it took.

benchmark    folders of HR and LR images, checked before anything runs
baselines    interpolations
ensemble     the x8 self-ensemble
runners      a baseline or a network at one target, behind one interface
records      figures of an image, and of a data set
log          finished images on disk: what an interrupted run goes on from
evaluate     the whole run
environment  versions, device, commit
tables       results.md
style        how figures look
plots        curves
sheet        crops
"""

from adadsr.evaluation.baselines import BASELINES
from adadsr.evaluation.evaluate import Evaluation, EvaluationOptions, evaluate
from adadsr.evaluation.records import Row

__all__ = ["BASELINES", "Evaluation", "EvaluationOptions", "Row", "evaluate"]
