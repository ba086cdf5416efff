"""Options -> networks."""

from adadsr import checkpoints
from adadsr.checkpoints import DEFAULT_FAMILY, DEFAULT_SCALE
from adadsr.errors import InputError
from adadsr.networks import SCALES
from adadsr.upscaler import Chain, Execution, Size, Upscaler


def load_chain(
    model: str | None,
    size: Size | None,
    execution: Execution,
    *,
    linear_light: bool = False,
) -> Chain:
    """The networks that the options name; each None is the default.

    model: a bundled name, a file or a hub id, of which all steps are; None for the bundled ones of all scales. size:
    None for the scale of the model. linear_light: see `Chain`. Raises AdaDSRError.
    """
    if model is not None:
        upscaler = Upscaler.from_pretrained(model, execution)
        return Chain(
            lambda scale: upscaler, [upscaler.scale], size or Size(scale=upscaler.scale), linear_light=linear_light
        )
    bundled = [each.name for each in checkpoints.bundled_models()]
    names = {scale: f"{DEFAULT_FAMILY}-x{scale}" for scale in SCALES}
    scales = [scale for scale, name in names.items() if name in bundled]
    if not scales:
        raise InputError(f"no bundled model of {DEFAULT_FAMILY}; pass --model")

    def load(scale: int) -> Upscaler:
        return Upscaler.from_pretrained(names[scale], execution)

    return Chain(load, scales, size or Size(scale=DEFAULT_SCALE), linear_light=linear_light)
