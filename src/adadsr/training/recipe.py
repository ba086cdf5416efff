"""A recipe: which network, and the stages that train it. Read from YAML; it checks itself."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from adadsr.errors import InputError
from adadsr.losses import LOSSES
from adadsr.models import NetworkConfig, named_config

PRECISIONS = ("float32", "bfloat16")
OPTIMIZERS = ("adam", "muon")
SCHEDULES = ("cosine", "step")
ADAPTIVE_ONLY = ("depth_weight", "full_share", "least_share", "shared_depth", "uniform_share")
"""Options of a stage that say nothing where every block runs."""


@dataclass(frozen=True)
class Stage:
    """One part of a run.

    adaptive: sample a desired depth for each image; otherwise every block runs.
    patch: side of the LR patch in pixels. learning_rate: peak, warmed up over the recipe's `warmup` steps.
    schedule: cosine falls to 1% of the peak; step halves the rate after 50%, 75% and 87.5% of the stage.
    loss: the distance to the HR image, and to the teacher's output, that is minimised: a name of `losses.LOSSES`.
        clip_norm and depth_weight are in its units. What the log calls loss is always L1 to the HR image.
    depth_weight: weight of `losses.depth_excess`; 0 where the adapter meets the desired depth by itself.
    full_share: share of images trained at full depth; the others' depths are uniform between least_share and 1 of it.
    shared_depth: so many images of a batch share one desired depth, and their maps meet it together, as the parts of a
        photo do: flat patches leave depth to the others. The first full_share of them run at full depth. 1: each alone.
    uniform_share: this part of the steps asks no adapter: all images run one number of blocks, drawn anew, everywhere.
        Blocks learn to be of use as the last ones, which maps of 0 and full depth alone do not teach them.
    teacher: a network, by name or path, whose output at full depth is a second target; empty for none.
    teacher_weight: how much of the loss is the distance to it, the rest is that to the HR image.
    """

    steps: int
    batch: int
    patch: int
    learning_rate: float
    schedule: str = "cosine"
    loss: str = "l1"
    adaptive: bool = False
    depth_weight: float = 0.0
    full_share: float = 0.25
    least_share: float = 0.1
    shared_depth: int = 1
    uniform_share: float = 0.0
    teacher: str = ""
    teacher_weight: float = 0.5

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch", "shared_depth"):
            _check(name, getattr(self, name), "a whole number of at least 1", lambda value: value >= 1, int)
        _check("learning_rate", self.learning_rate, "a number above 0", lambda value: value > 0, int, float)
        _check("adaptive", self.adaptive, "true or false", lambda value: True, bool)
        _check("depth_weight", self.depth_weight, "a number of at least 0", lambda value: value >= 0, int, float)
        _check("full_share", self.full_share, "a number in [0, 1]", lambda value: 0 <= value <= 1, int, float)
        what = "a number in [0, 1); at 1 no step would ask the adapter"
        _check("uniform_share", self.uniform_share, what, lambda value: 0 <= value < 1, int, float)
        for name in ("least_share", "teacher_weight"):
            _check(name, getattr(self, name), "a number in (0, 1]", lambda value: 0 < value <= 1, int, float)
        _check("loss", self.loss, f"one of {tuple(LOSSES)}", lambda value: value in LOSSES, str)
        _check("schedule", self.schedule, f"one of {SCHEDULES}", lambda value: value in SCHEDULES, str)
        _check("teacher", self.teacher, "the path of a checkpoint or a name", lambda value: True, str)
        given = {field.name: getattr(self, field.name) != field.default for field in fields(self)}
        idle = [] if self.adaptive else [name for name in ADAPTIVE_ONLY if given[name]]
        if idle:
            raise InputError(f"{', '.join(idle)}: only an adaptive stage has that; add adaptive: true or leave it out")
        if given["teacher_weight"] and not self.teacher:
            raise InputError(f"teacher_weight={self.teacher_weight}: no teacher is given; add teacher: NAME")
        if self.shared_depth > 1:
            self._check_shared()

    @property
    def full_of_shared(self) -> int:
        """How many of the images that share a desired depth run at full depth."""
        return round(self.full_share * self.shared_depth)

    def _check_shared(self) -> None:
        shared = f"shared_depth={self.shared_depth}"
        if self.batch % self.shared_depth:
            raise InputError(f"{shared} does not divide batch={self.batch}; make the batch a multiple of it")
        if self.full_of_shared == self.shared_depth:
            raise InputError(f"{shared} and full_share={self.full_share} leave no image below full depth; lower one")


@dataclass(frozen=True)
class Recipe:
    """A network and the stages that train it, in order.

    network, scale, depth_tile: see `models.named_config`.
    start_from: a checkpoint of the same network, plain or adaptive, whose weights the run starts with; empty for fresh
    ones. precision: of the convs of body and adapter; bfloat16 is autocast over float32 weights, faster where the
    device multiplies bfloat16.
    ema_decay: of the moving average of the weights, which is what is validated and kept. clip_norm: largest norm of
    the gradient. optimizer: adam, or muon for the convs of the residual blocks and adam for the rest. compile: run the
    forward pass through torch.compile; cuda_graphs: and replay it as CUDA graphs.
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
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        _check("network", self.network, "the name of a network", bool, str)
        _check("stages", self.stages, "one stage or more", bool, tuple)
        _check("seed", self.seed, "a whole number of at least 0", lambda value: value >= 0, int)
        _check("ema_decay", self.ema_decay, "a number in [0, 1)", lambda value: 0 <= value < 1, int, float)
        _check("clip_norm", self.clip_norm, "a number above 0", lambda value: value > 0, int, float)
        _check("warmup", self.warmup, "a whole number of at least 1", lambda value: value >= 1, int)
        _check("start_from", self.start_from, "the path of a checkpoint or a name", lambda value: True, str)
        _check("precision", self.precision, f"one of {PRECISIONS}", lambda value: value in PRECISIONS, str)
        _check("optimizer", self.optimizer, f"one of {OPTIMIZERS}", lambda value: value in OPTIMIZERS, str)
        for name in ("compile", "cuda_graphs"):
            _check(name, getattr(self, name), "true or false", lambda value: True, bool)
        if self.cuda_graphs and not self.compile:
            raise InputError("cuda_graphs=True: graphs come with compilation; add compile: true")
        if not self.config.adaptive and any(stage.adaptive for stage in self.stages):
            raise InputError(f"network={self.network!r} has no adapter for an adaptive stage; take ada{self.network}")
        if self.depth_tile == 1 and any(stage.shared_depth > 1 for stage in self.stages):
            raise InputError("shared_depth: the published adapter meets no depth exactly; take depth_tile: 4")

    @property
    def config(self) -> NetworkConfig:
        """The network's configuration; raises InputError where there is no such network."""
        return named_config(self.network, self.scale, self.depth_tile)

    @classmethod
    def from_yaml(cls, path: Path) -> "Recipe":
        """Read a recipe. An unknown or missing key, a value that is not allowed and broken YAML raise InputError."""
        import yaml

        try:
            return cls.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: is no YAML ({reason}); see recipes/ for an example") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Recipe":
        """What a YAML file or the state of a run holds. Errors as for `from_yaml`."""
        try:
            stages = tuple(Stage(**stage) for stage in content["stages"])
            return cls(**{**content, "stages": stages})
        except (TypeError, KeyError) as error:
            raise InputError(f"{error}; the keys are those of Recipe and Stage in training/recipe.py") from error


def _check(name: str, value: object, what: str, allowed: Callable[[Any], bool], *types: type) -> None:
    """Raise InputError unless a value is of one of these types and allowed, which `what` says in words."""
    if type(value) not in types or not allowed(value):
        raise InputError(f"{name}={value!r} is not {what}")
