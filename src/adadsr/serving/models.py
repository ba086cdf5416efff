"""The networks that the service offers, loaded when first needed; all share one memory limit."""

import json
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from adadsr import checkpoints
from adadsr.checkpoints import DEFAULT_FAMILY, DEFAULT_SCALE, PHOTO_FAMILY
from adadsr.errors import CheckpointError, InputError
from adadsr.serving.settings import Settings
from adadsr.upscaler import Chain, SharedMemory, Size, Upscaler


class Offer(NamedTuple):
    """A model that requests can name. source: what to load."""

    name: str
    source: str
    scale: int
    is_adaptive: bool
    n_blocks: int
    metadata: dict[str, str]

    @property
    def family(self) -> str:
        """The name without the scale."""
        return self.name.removesuffix(f"-x{self.scale}")

    def as_json(self) -> dict[str, Any]:
        """What `GET /v1/models` says about it."""
        return {
            "name": self.name,
            "family": self.family,
            "scale": self.scale,
            "adaptive": self.is_adaptive,
            "blocks": self.n_blocks,
            "summary": self.metadata.get("summary", ""),
            "quality": json.loads(self.metadata.get("quality", "{}")),
        }


class Models:
    """Threads may share it. Requests can name what is offered and nothing else, above all no file."""

    def __init__(self, settings: Settings) -> None:
        """Reads headers of bundled models only.

        Raises CheckpointError for a file that is not a checkpoint, and InputError if its name is taken.
        """
        self.execution, self.memory = settings.execution, SharedMemory(settings.working_memory)
        self.offers: dict[str, Offer] = {}
        for each in checkpoints.bundled_models():
            adaptive = each.config.adaptive
            self.offers[each.name] = Offer(
                each.name, each.name, each.config.scale, adaptive, each.config.n_resblocks, each.metadata
            )
        for source in settings.models:
            if source in self.offers:
                continue
            upscaler = self._load(source)
            if upscaler.name in self.offers:
                raise InputError(f"{source}: a model named {upscaler.name} is already offered; rename the file")
            adaptive, blocks = upscaler.engine.network.adapter is not None, upscaler.config.n_resblocks
            self.offers[upscaler.name] = Offer(upscaler.name, source, upscaler.scale, adaptive, blocks, {})
        self._loaded: dict[tuple[str, int | None], Upscaler] = {}
        self._lock = threading.Lock()

    def chain(self, model: str | None, size: Size | None, threads: int | None = None) -> Chain:
        """The networks for a request. model: a name or a family; None for the default, where pictures of lossy formats
        take the networks for photos. size: None for the model's.

        threads: None for all. Raises CheckpointError for a model that is not offered.
        """
        wanted = model or DEFAULT_FAMILY
        named = self.offers.get(wanted)
        offers = self._family(wanted) if named is None else {named.scale: named}
        if not offers:
            known = ", ".join(self.offers)
            raise CheckpointError(f"model={wanted}: not offered here; choose from {known}")
        photos = {} if model else self._family(PHOTO_FAMILY)
        return Chain(
            self._loader(offers, threads),
            sorted(offers),
            size or Size(scale=min(offers)),
            load_for_photos=self._loader(photos, threads) if photos.keys() >= offers.keys() else None,
        )

    def _family(self, family: str) -> dict[int, Offer]:
        """The offers of a family by scale."""
        return {each.scale: each for each in self.offers.values() if each.family == family}

    def warm_up(self) -> None:
        """Load the default model."""
        self.chain(None, Size(scale=DEFAULT_SCALE)).upscaler(DEFAULT_SCALE)

    def _loader(self, offers: dict[int, Offer], threads: int | None) -> Callable[[int], Upscaler]:
        return lambda scale: self.upscaler(offers[scale].name, threads)

    def upscaler(self, name: str, threads: int | None = None) -> Upscaler:
        """A network by its whole name."""
        with self._lock:
            if (name, None) not in self._loaded:
                self._loaded[name, None] = self._load(self.offers[name].source)
            if (name, threads) not in self._loaded:
                assert threads is not None
                self._loaded[name, threads] = self._loaded[name, None].with_threads(threads)
            return self._loaded[name, threads]

    def _load(self, source: str) -> Upscaler:
        return Upscaler(
            checkpoints.load_model(source),
            self.execution,
            name=checkpoints.model_name(source),
            memory=self.memory,
        )
