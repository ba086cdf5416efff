"""Options -> `Upscaler`."""

from adadsr import checkpoints
from adadsr.errors import InputError
from adadsr.upscaler import Execution, Upscaler

DEFAULT_FAMILY = "adaedsr-baseline"
DEFAULT_SCALE = 2


def load_upscaler(model: str | None, scale: int | None, execution: Execution) -> Upscaler:
    """The model that the options name; each None is the default.

    model: a bundled name, a file or a hub id; None for the bundled one of `scale`. Raises AdaDSRError, also where the
    model is not of `scale`.
    """
    source = _bundled_of(scale or DEFAULT_SCALE) if model is None else model
    upscaler = Upscaler.from_pretrained(source, execution)
    if scale not in (None, upscaler.scale):
        raise InputError(
            f"--scale {scale} contradicts model {model}, which is x{upscaler.scale}; "
            "drop --scale or choose another model"
        )
    return upscaler


def _bundled_of(scale: int) -> str:
    name = f"{DEFAULT_FAMILY}-x{scale}"
    names = [model.name for model in checkpoints.bundled_models()]
    if name not in names:
        raise InputError(
            f"--scale {scale}: no bundled model {name} (available: {', '.join(names) or 'none'}); pass --model"
        )
    return name
