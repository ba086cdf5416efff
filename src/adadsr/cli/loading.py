"""Options -> `Upscaler`."""

import torch

from adadsr import checkpoints
from adadsr.errors import InputError
from adadsr.upscaler import Upscaler

DEFAULT_FAMILY = "adaedsr-baseline"
DEFAULT_SCALE = 2


def load_upscaler(
    model: str | None,
    scale: int | None,
    *,
    device: str = "auto",
    backend: str | None = None,
    tile: int | None = None,
    memory: int | None = None,
    precision: str = "float32",
) -> Upscaler:
    """The model that the options name, on its device; each None is the default.

    model: a bundled name, a file or a hub id; None for the bundled one of `scale`. device: `auto` or torch's name.
    Raises AdaDSRError, also where the model is not of `scale`.
    """
    upscaler = Upscaler.from_pretrained(
        _bundled_of(scale or DEFAULT_SCALE) if model is None else model,
        device=chosen_device(device),
        backend=backend,
        tile=tile,
        memory=memory,
        precision=precision,
    )
    if scale not in (None, upscaler.scale):
        raise InputError(
            f"--scale {scale} was given, but the model {model} enlarges {upscaler.scale} times; "
            "leave --scale out, or choose another model"
        )
    return upscaler


def chosen_device(device: str) -> str:
    """`auto` resolved: a CUDA device where there is one, else the CPU."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _bundled_of(scale: int) -> str:
    name = f"{DEFAULT_FAMILY}-x{scale}"
    names = [model.name for model in checkpoints.bundled_models()]
    if name not in names:
        raise InputError(
            f"--scale {scale}: no model {name} is bundled (there are: {', '.join(names) or 'none'}); "
            "name a model with --model"
        )
    return name
