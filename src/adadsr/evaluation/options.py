"""What to evaluate, and how."""

from dataclasses import dataclass, field
from pathlib import Path

from adadsr.degradation import Degradation
from adadsr.errors import InputError
from adadsr.networks import SCALES
from adadsr.upscaler import Execution, Target


@dataclass(frozen=True)
class EvaluationOptions:
    """One evaluation.

    Attributes:
        datasets: Names below data_root, or paths.
        models: Names of baselines, or what `checkpoints.load_model` accepts.
        scale: Upscale factor of data and models.
        out: Folder for what is written.
        data_root: Folder that contains the data sets.
        depths: Desired depths for each adaptive model, in blocks.
        budgets: Likewise, as shares of the dense network's cost.
        max_losses: Likewise, as predicted losses of PSNR in dB; full depth if all three are empty.
        execution: How networks run; by default with zeros beyond the border, like figures in the literature.
        degradations: What is done to the LR images, in this order.
        self_ensemble: Average the eight flips and rotations of each image.
        save_images: Write every SR image.
        fresh: Forget what an earlier run left in `out`.

    Raises:
        InputError: A value is not allowed or given twice.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    scale: int
    out: Path
    data_root: Path = Path(".")
    depths: tuple[float, ...] = ()
    budgets: tuple[float, ...] = ()
    max_losses: tuple[float, ...] = ()
    execution: Execution = field(default_factory=lambda: Execution(border="zero"))
    degradations: tuple[Degradation, ...] = ()
    self_ensemble: bool = False
    save_images: bool = False
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"scale={self.scale} is not one of {', '.join(map(str, SCALES))}")
        for name in ("datasets", "models"):
            if not getattr(self, name):
                raise InputError(f"pass at least one of {name}")
        for name in ("datasets", "models", "depths", "budgets", "max_losses"):
            values = getattr(self, name)
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise InputError(f"duplicate in {name}: {twice}")
        if self.degradations and "bicubic" in self.models:
            raise InputError("the bicubic baseline is made from the HR image, not from a degraded one; use bicubic-rgb")
        _ = self.targets  # each checks itself

    @property
    def targets(self) -> tuple[Target, ...]:
        """Targets for each adaptive model."""
        targets = [Target(depth=depth) for depth in self.depths]
        targets += [Target(budget=budget) for budget in self.budgets]
        targets += [Target(max_loss=loss) for loss in self.max_losses]
        return tuple(targets) or (Target(),)
