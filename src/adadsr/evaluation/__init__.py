"""Evaluation: figures to compare with the literature's, next to what was executed and how long it took.

options     what to evaluate, and how
benchmark   folders of HR and LR images, checked before anything runs
records     figures of an image and of a data set, and the log for resuming
paper_cost  the paper's own counting
baselines   interpolations
runners     a baseline or a network, behind one interface
evaluate    the whole run
results     results.json and results.md, with the environment
plots       curves
sheet       crops
"""

from adadsr.evaluation.baselines import BASELINES
from adadsr.evaluation.evaluate import Evaluation, evaluate
from adadsr.evaluation.options import EvaluationOptions
from adadsr.evaluation.records import Row

__all__ = ["BASELINES", "Evaluation", "EvaluationOptions", "Row", "evaluate"]
