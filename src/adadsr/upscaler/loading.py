"""The networks that a user names -> a chain."""

from adadsr import checkpoints
from adadsr.checkpoints import DEFAULT_FAMILY, DEFAULT_SCALE, PHOTO_FAMILY
from adadsr.errors import InputError
from adadsr.networks import Model
from adadsr.upscaler.chain import Chain
from adadsr.upscaler.execution import Execution
from adadsr.upscaler.size import Size
from adadsr.upscaler.upscaler import Upscaler


def load_chain(
    model: str | None,
    size: Size | None,
    execution: Execution,
    *,
    linear_light: bool = False,
) -> Chain:
    """The networks that the options name; each None is the default.

    model: a bundled name, a file or a hub id, of which all steps are; None for the bundled ones of all scales, where
    pictures of lossy formats take those for photos. size: None for the scale of the model. linear_light: see `Chain`.
    Raises AdaDSRError.
    """
    if model is not None:
        loaded = checkpoints.load_model(model)
        return chain_of(loaded, checkpoints.model_name(model), size, execution, linear_light=linear_light)
    clean, photo = (checkpoints.bundled_family(family) for family in (DEFAULT_FAMILY, PHOTO_FAMILY))
    if not clean:
        raise InputError(f"no bundled model of {DEFAULT_FAMILY}; pass --model")

    def load(scale: int) -> Upscaler:
        return Upscaler.from_pretrained(clean[scale], execution)

    def load_for_photos(scale: int) -> Upscaler:
        return Upscaler.from_pretrained(photo[scale], execution)

    return Chain(
        load,
        list(clean),
        size or Size(scale=DEFAULT_SCALE),
        linear_light=linear_light,
        load_for_photos=load_for_photos if photo.keys() >= clean.keys() else None,
    )


def chain_of(model: Model, name: str, size: Size | None, execution: Execution, *, linear_light: bool = False) -> Chain:
    """The chain of one network, all steps of which it takes; otherwise as `load_chain`."""
    upscaler = Upscaler(model, execution, name=name)
    return Chain(
        lambda scale: upscaler, [upscaler.scale], size or Size(scale=upscaler.scale), linear_light=linear_light
    )
