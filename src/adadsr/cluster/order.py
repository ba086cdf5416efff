"""What a run is asked for, and what each worker is told."""

from dataclasses import dataclass, field
from typing import Any

from adadsr import __version__, batch, checkpoints
from adadsr.errors import InputError
from adadsr.networks import Model
from adadsr.upscaler import Chain, Execution, Size, Target
from adadsr.upscaler.loading import chain_of, load_chain

WORKER_MEMORY = 2**30
"""Default working memory of an actor, in bytes: enough for exact tiles of the bundled networks."""
PROCESS_BYTES = 400 * 2**20
"""Of a worker beside its working memory: Python, libraries, weights, and encoded files."""


@dataclass(frozen=True)
class Resources:
    """Where a run takes place.

    Attributes:
        address: Of a Ray cluster, or `auto`; None starts Ray on this machine for the run.
        cores: Of each actor; ignored on GPUs, of which each actor takes one.
        workers: Most actors; None for as many as fit.
    """

    address: str | None = None
    cores: int = 1
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("cores", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value} must be at least 1")


@dataclass(frozen=True)
class Collection:
    """What a run is asked for.

    Attributes:
        source, destination: Addresses; see `sources.find`.
        model: As for `load_chain`.
        size: Of the outputs; None for the scale of the model.
        execution: How networks run. Its device may be `auto`.
        options: How images run. With `shared` their target is that of the whole collection.
        linear_light: See `Chain`.
        suffix, naming: Of the outputs; see `batch.find_jobs`.
        shared: Spend one budget where it brings most, instead of the same for each image.
        hours: Time for the whole collection, in place of a target; implies `shared`.
    """

    source: str
    destination: str
    model: str | None = None
    size: Size | None = None
    execution: Execution = field(default_factory=Execution)
    options: batch.Options = field(default_factory=batch.Options)
    linear_light: bool = False
    suffix: str | None = None
    naming: batch.Naming | None = None
    shared: bool = False
    hours: float | None = None

    def __post_init__(self) -> None:
        target = self.options.target
        if self.hours is not None and not self.hours > 0:
            raise InputError(f"hours={self.hours:g} must be above 0")
        if self.hours is not None and target != Target():
            raise InputError("hours with a budget, depth or max_loss: pass only one of them")
        if self.shared and self.hours is None and target.budget is None and target.max_loss is None:
            raise InputError("shared needs a budget or a max_loss to share; pass --budget, --max-loss or --hours")

    @property
    def is_shared(self) -> bool:
        """Whether a first pass decides what all images get."""
        return self.shared or self.hours is not None

    def fingerprint(self, model: Model | None) -> dict[str, Any]:
        """All options that decide what the outputs show and their names, as plain values. model: loaded, if named.

        Device, backend and memory are left out, so that a run may resume elsewhere or with less memory: they decide
        rounding and, in networks without exact tiles, borders of tiles. The manifest has them for each output.
        """
        options, execution = self.options, self.execution
        plain = {name: value for name, value in vars(options.target).items() if value is not None}
        named = "bundled"
        if self.model is not None:
            assert model is not None
            named = f"{checkpoints.model_name(self.model)} {model.digest()[:16]}"
        return {
            "adadsr": __version__,
            "model": named,
            "size": "that of the model" if self.size is None else _given(self.size),
            "linear_light": self.linear_light,
            "target": ", ".join(f"{name}={value:g}" for name, value in plain.items()) or "full depth",
            "shared": f"hours={self.hours:g}" if self.hours is not None else self.shared,
            "precision": execution.precision,
            "tile": execution.tile,
            "border": execution.border,
            "format": self.suffix or "that of each input",
            "name": (self.naming or batch.Naming()).template,
            "quality": options.quality,
            "background": None if options.background is None else str(options.background),
            "max_pixels": options.max_pixels,
            "accept_damaged": options.accept_damaged,
            "page": options.page,
        }


@dataclass(frozen=True)
class Order:
    """What every worker of an attempt is told. model: loaded, if one is named; bundled ones are on every machine.

    least_gain: of the collection, if it shares a budget. is_paced: whether the ledger's decision tells that of a unit.
    """

    destination: str
    attempt: int
    size: Size | None
    execution: Execution
    options: batch.Options
    linear_light: bool
    model: Model | None
    model_name: str
    least_gain: float | None = None
    is_paced: bool = False

    def chain(self) -> Chain:
        """The networks."""
        if self.model is None:
            return load_chain(None, self.size, self.execution, linear_light=self.linear_light)
        return chain_of(self.model, self.model_name, self.size, self.execution, linear_light=self.linear_light)


def _given(size: Size) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in vars(size).items() if value is not None)
