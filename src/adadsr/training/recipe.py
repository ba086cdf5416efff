"""A recipe: which network, and the stages that train it. Read from YAML; it checks itself."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import Any

from adadsr.errors import InputError
from adadsr.losses import LOSSES
from adadsr.networks import CONFIGS, NetworkConfig, named_config
from adadsr.training.reading import check_keys, read_part, read_yaml

PRECISIONS = ("float32", "bfloat16")
OPTIMIZERS = ("adam", "muon")
SCHEDULES = ("cosine", "step")
TRAINED = ("all", "adapter", "exits", "predicted_loss")
LARGEST_REDUCTION = 16
SMALLEST_PATCH = 2
"""Side in LR pixels of which the border that no loss counts leaves something."""
ADAPTIVE_ONLY = ("depth_weight", "full_share", "least_share", "shared_depth", "uniform_share", "exits")
"""Options of a stage that mean nothing if every block runs."""
NOT_COMPARED = ("loss", "depth_weight", "full_share", "shared_depth", "uniform_share", "flat_share", "flat_weight")
"""Options that mean nothing to a stage that teaches predicted losses."""


@dataclass(frozen=True)
class Stage:
    """One part of a run.

    patch: side of the LR patch in pixels. learning_rate: peak, reached after the recipe's `warmup` steps.
    schedule: cosine falls to 1% of the peak; step halves the rate after 50%, 75% and 87.5% of the stage.
    loss: the distance to the HR image, and to the teacher's output, that is minimised; a name of `losses.LOSSES`.
        clip_norm and depth_weight are in its units. The log always shows L1 to the HR image.
    train: all, or adapter: the network is left as it is, and only the adapter learns; exits: only the closing convs
        of the exits learn, so full depth and the maps stay as they are; predicted_loss: the adapter learns what maps
        lose, and leaves them nearly as they are (`predicted_loss`).
    adaptive: draw a desired depth for each image; otherwise every block runs.
    depth_weight: weight of `losses.depth_excess`; 0 if the adapter meets the desired depth by itself.
    full_share: fraction of images at full depth. The others draw their depth uniformly between `least_share` of full
        depth and full depth.
    shared_depth: this many images of a batch share one desired depth, which their maps meet together, like parts of
        one photo. The first `full_share` of them run at full depth. 1: each alone.
    uniform_share: fraction of steps that bypass the adapter and run one random number of blocks at every position, so
        that each block also learns to be the last.
    exits: after how many numbers of blocks such a step, or one that teaches predicted losses, takes an output. Several
        show the adapter what a block gains, and cost less than as many steps; if all weights learn, full depth is one
        of them.
    teacher: a network, by name or path, whose output at full depth is a second target; empty for none.
    teacher_weight: weight of the distance to it in the loss; the rest is the distance to the HR image.
    teacher_megapixels: LR megapixels of the photos whose targets are computed before the stage, cached, and used
        exclusively; each reduction gets the same share. 0 runs the teacher in every step.
    photo_share: fraction of the LR patches that are degraded as photos are (`degradation.degrade_as_photo`); teachers
        see clean ones.
    augment: flip and rotate patches. False where HR is a network's output, which turns differently than the image.
    flat_share: fraction of the patches that are replaced by a single colour, which the network has to keep.
    flat_weight: factor of the errors on patches of one colour without noise, where even small errors are visible.
    """

    steps: int
    batch: int
    patch: int
    learning_rate: float
    schedule: str = "cosine"
    loss: str = "l1"
    train: str = "all"
    adaptive: bool = False
    depth_weight: float = 0.0
    full_share: float = 0.25
    least_share: float = 0.1
    shared_depth: int = 1
    uniform_share: float = 0.0
    exits: int = 1
    teacher: str = ""
    teacher_weight: float = 0.5
    teacher_megapixels: float = 0.0
    photo_share: float = 0.0
    augment: bool = True
    flat_share: float = 0.0
    flat_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch", "shared_depth", "exits"):
            _check(name, getattr(self, name), "a whole number of at least 1", lambda value: value >= 1, int)
        _check("learning_rate", self.learning_rate, "a number above 0", lambda value: value > 0, int, float)
        for name in ("adaptive", "augment"):
            _check(name, getattr(self, name), "true or false", lambda value: True, bool)
        for name in ("depth_weight", "teacher_megapixels"):
            _check(name, getattr(self, name), "a number of at least 0", lambda value: 0 <= value < inf, int, float)
        for name in ("full_share", "photo_share", "flat_share"):
            _check(name, getattr(self, name), "a number in [0, 1]", lambda value: 0 <= value <= 1, int, float)
        what = "a number in [0, 1), since at 1 no step would use the adapter"
        _check("uniform_share", self.uniform_share, what, lambda value: 0 <= value < 1, int, float)
        _check("flat_weight", self.flat_weight, "a number of at least 1", lambda value: 1 <= value < inf, int, float)
        for name in ("least_share", "teacher_weight"):
            _check(name, getattr(self, name), "a number in (0, 1]", lambda value: 0 < value <= 1, int, float)
        _check("loss", self.loss, f"one of {tuple(LOSSES)}", lambda value: value in LOSSES, str)
        _check("schedule", self.schedule, f"one of {SCHEDULES}", lambda value: value in SCHEDULES, str)
        _check("teacher", self.teacher, "the path of a checkpoint or a name", lambda value: True, str)
        _check("train", self.train, f"one of {TRAINED}", lambda value: value in TRAINED, str)
        if self.train != "all" and not self.adaptive:
            raise InputError(f"train: {self.train} needs an adaptive stage; add adaptive: true")
        if self.train in ("adapter", "predicted_loss") and self.teacher:
            raise InputError(f"teacher={self.teacher} has no effect with train: {self.train}; drop one of the two")
        if self.train == "adapter" and self.uniform_share and self.exits == 1:
            raise InputError("exits=1 shows an adapter that learns alone nothing of what a block gains; use exits: 4")
        if self.train == "predicted_loss":
            self._check_compared()
        if self.exits > 1 and not self.uniform_share and self.train != "predicted_loss":
            raise InputError(f"exits={self.exits} belongs to steps at one depth everywhere; add uniform_share")
        given = {field.name: getattr(self, field.name) != field.default for field in fields(self)}
        idle = [] if self.adaptive else [name for name in ADAPTIVE_ONLY if given[name]]
        if idle:
            raise InputError(f"{', '.join(idle)} need an adaptive stage; add adaptive: true or drop them")
        for name in ("teacher_weight", "teacher_megapixels"):
            if given[name] and not self.teacher:
                raise InputError(f"{name}={getattr(self, name)} without a teacher; add teacher: NAME")
        if self.shared_depth > 1:
            self._check_shared()

    @property
    def teaches_adapter(self) -> bool:
        """Whether the adapter learns."""
        return self.adaptive and self.train != "exits"

    @property
    def full_of_shared(self) -> int:
        """Number of images that run at full depth among those that share a desired depth."""
        return round(self.full_share * self.shared_depth)

    def _check_compared(self) -> None:
        if self.exits == 1:
            raise InputError("train: predicted_loss compares depths with full depth; use exits: 4")
        names = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        if idle := [name for name in names if name in NOT_COMPARED]:
            raise InputError(f"{', '.join(idle)} have no effect with train: predicted_loss; drop them")

    def _check_shared(self) -> None:
        shared = f"shared_depth={self.shared_depth}"
        if self.batch % self.shared_depth:
            raise InputError(f"{shared} does not divide batch={self.batch}; use a multiple of it")
        if self.full_of_shared == self.shared_depth:
            raise InputError(f"{shared} and full_share={self.full_share} leave no image below full depth; lower one")


@dataclass(frozen=True)
class Recipe:
    """A network and the stages that train it, in order.

    network, scale, depth_tile: see `networks.named_config`.
    sizes: the configuration itself, for a network without a name; `network`, `scale` and `depth_tile` are those of it.
    start_from: a checkpoint of the same network, with or without adapter, or for an RCAN an EDSR, whose weights the run
        starts with; empty for fresh ones.
    precision: of the convs of body and adapter, and of ESRGAN's tail. bfloat16 rounds factors; weights stay float32.
    optimizer: adam, or muon for the convs of blocks and groups and adam for the rest.
    even_rates: lower the learning rate of each tensor that moves the output most (`sensitivity`), as measured once at
        the start of the run.
    ema_decay: of the moving average of the weights, which is what is validated and finally saved.
    clip_norm: largest norm of the gradient.
    compile, cuda_graphs: run the forward pass through torch.compile, and replay it as CUDA graphs.
    photo_reductions, valid_reductions: photos are used at 1/r of their size for each r; see `datasets.load_pairs`.
    valid_jpeg: a JPEG quality at which the LR images of the validation photos are compressed for a further measurement;
        0 for none.
    """

    network: str
    scale: int
    depth_tile: int
    stages: tuple[Stage, ...]
    seed: int = 0
    ema_decay: float = 0.999
    clip_norm: float = 10.0
    warmup: int = 200
    start_from: str = ""
    precision: str = "float32"
    optimizer: str = "adam"
    even_rates: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    photo_reductions: tuple[int, ...] = (1,)
    valid_reductions: tuple[int, ...] = (1,)
    valid_jpeg: int = 0
    sizes: NetworkConfig | None = None

    def __post_init__(self) -> None:
        _check("network", self.network, "the name of a network", bool, str)
        if self.sizes is not None:
            described = (self.sizes.kind, self.sizes.scale, self.sizes.depth_tile)
            if (self.network, self.scale, self.depth_tile) != described:
                raise InputError(f"network, scale and depth_tile are not those of sizes: {described}")
        _check("stages", self.stages, "one stage or more", bool, tuple)
        _check("seed", self.seed, "a whole number of at least 0", lambda value: value >= 0, int)
        _check("ema_decay", self.ema_decay, "a number in [0, 1)", lambda value: 0 <= value < 1, int, float)
        _check("clip_norm", self.clip_norm, "a number above 0", lambda value: value > 0, int, float)
        _check("warmup", self.warmup, "a whole number of at least 1", lambda value: value >= 1, int)
        _check("start_from", self.start_from, "the path of a checkpoint or a name", lambda value: True, str)
        _check("precision", self.precision, f"one of {PRECISIONS}", lambda value: value in PRECISIONS, str)
        _check("optimizer", self.optimizer, f"one of {OPTIMIZERS}", lambda value: value in OPTIMIZERS, str)
        _check("valid_jpeg", self.valid_jpeg, "a quality from 0 to 100", lambda value: 0 <= value <= 100, int)
        for name in ("photo_reductions", "valid_reductions"):
            what = f"a list of different whole numbers from 1 to {LARGEST_REDUCTION}, in ascending order"
            _check(name, getattr(self, name), what, _are_reductions, tuple)
        for name in ("compile", "cuda_graphs", "even_rates"):
            _check(name, getattr(self, name), "true or false", lambda value: True, bool)
        if self.cuda_graphs and not self.compile:
            raise InputError("cuda_graphs requires compile: true")
        for number, stage in enumerate(self.stages, 1):
            if reason := self._misfit(stage):
                raise InputError(f"stage {number}: {reason}")

    def _misfit(self, stage: Stage) -> str | None:
        """Why the network cannot train a stage; None if it can."""
        config, name = self.config, f"ada{self.network}"
        if stage.adaptive and not config.adaptive:
            remedy = f"use {name}" if name in CONFIGS else "drop adaptive: true, or run adadsr adapt"
            return f"network={self.network!r} has no adapter, which adaptive stages need; {remedy}"
        if stage.train == "exits" and not config.exits:
            return "train: exits needs a network that has exits, as adadsr adapt makes it of an ESRGAN"
        if config.depth_tile > 1 and stage.depth_weight:
            return "depth_weight needs depth_tile: 1; other adapters learn from errors, not from depths"
        if config.depth_tile == 1 and stage.train == "predicted_loss":
            return "train: predicted_loss needs an adapter that predicts errors; use depth_tile: 4"
        if config.depth_tile == 1 and stage.shared_depth > 1:
            return "shared_depth needs an adapter that meets the depth; use depth_tile: 4"
        if config.depth_tile == 1 and stage.train == "adapter" and stage.uniform_share:
            return "uniform_share teaches an adapter with depth_tile: 1 nothing; drop it"
        unit = config.unshuffle * (config.depth_tile if stage.adaptive else 1)
        if stage.patch % config.unshuffle or stage.patch < max(SMALLEST_PATCH, unit):
            multiple = f"a multiple of {config.unshuffle}, " if config.unshuffle > 1 else ""
            return f"patch={stage.patch} does not suit this network; use {multiple}at least {max(SMALLEST_PATCH, unit)}"
        return None

    @property
    def config(self) -> NetworkConfig:
        """The network's configuration; raises InputError for an unknown network."""
        return self.sizes or named_config(self.network, self.scale, self.depth_tile)

    @classmethod
    def from_yaml(cls, path: Path) -> "Recipe":
        """Read a recipe. Unknown or missing keys, values that are not allowed and invalid YAML raise InputError."""
        content = read_yaml(path)
        try:
            return cls.from_dict(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, content: object) -> "Recipe":
        """The recipe in a YAML file or in the state of a run. Errors as for `from_yaml`."""
        check_keys(cls, content)
        assert isinstance(content, dict)
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        if isinstance(given["stages"], tuple):
            given["stages"] = tuple(read_part(Stage, each, f"stage {n}") for n, each in enumerate(given["stages"], 1))
        if given.get("sizes") is not None:
            given["sizes"] = read_part(NetworkConfig, given["sizes"], "sizes")
        return cls(**given)


def differences(ours: Recipe, theirs: Recipe, begun: int) -> list[str]:
    """Keys in which two recipes differ, apart from stages after the first `begun`."""
    keys = [key for key, value in vars(ours).items() if key != "stages" and value != getattr(theirs, key)]
    for number, pair in enumerate(zip_longest(ours.stages[:begun], theirs.stages[:begun]), 1):
        if None in pair:
            return [*keys, f"stage {number}"]
        one, other = map(vars, pair)
        keys += [f"{key} of stage {number}" for key in one if one[key] != other[key]]
    return keys


def _are_reductions(values: tuple[object, ...]) -> bool:
    """Whether these are different whole numbers from 1 to LARGEST_REDUCTION, in ascending order; not empty."""
    known = [value for value in range(1, LARGEST_REDUCTION + 1) if value in values]
    return bool(values) and list(values) == known and all(type(value) is int for value in values)


def _check(name: str, value: object, what: str, allowed: Callable[[Any], bool], *types: type) -> None:
    """Raise InputError unless a value has one of these types and is allowed. what: the condition in words."""
    if type(value) not in types or not allowed(value):
        raise InputError(f"{name}={value!r} is not {what}")
