"""What is evaluated: a baseline, or a network at one depth or budget, behind one interface."""

import hashlib
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from adadsr import checkpoints
from adadsr.cost import Cost, CostModel, PaperCost, paper_cost
from adadsr.errors import InputError
from adadsr.evaluation.baselines import BASELINES
from adadsr.evaluation.benchmark import Pair, Pixels
from adadsr.evaluation.ensemble import run_ensemble
from adadsr.models import Network
from adadsr.sparse.body import body_macs
from adadsr.upscaler import Upscaler
from adadsr.upscaler.report import Target


@dataclass(frozen=True, eq=False)
class Result:
    """One image. sr: uint8 RGB (s*h, s*w, 3). luma: as in `baselines.Enlarged`. The rest is None for a baseline.

    depth_map: (G, h, w), in blocks. Of a self-ensemble costs are summed and depths averaged over its runs.
    """

    sr: Pixels
    seconds: float
    luma: tuple[Pixels, Pixels] | None = None
    executed_gmacs: float | None = None
    dense_gmacs: float | None = None
    mean_depth: float | None = None
    paper: PaperCost | None = None
    depth_map: npt.NDArray[np.float32] | None = None


class Runner(Protocol):
    """A model at one target.

    model: its name in the tables. identity: a digest of what is run. target: what is asked for. weight: about how long
    a pixel takes, against a network at full depth, for the time left.
    """

    model: str
    identity: str
    target: Target
    weight: float

    @property
    def is_network(self) -> bool:
        """False for a baseline."""

    def least_budget(self, height: int, width: int) -> float:
        """The least budget that an LR image of this size can meet."""

    def __call__(self, pair: Pair) -> Result:
        """Enlarge pair.lr, in the time that the result says."""


class BaselineRunner:
    """An interpolation of `BASELINES`."""

    is_network = False
    weight = 0.01

    def __init__(self, name: str) -> None:
        self.model, self.identity, self.target = name, name, Target()

    def least_budget(self, height: int, width: int) -> float:
        """Any: a baseline has no cost."""
        return 0.0

    def __call__(self, pair: Pair) -> Result:
        start = time.perf_counter()
        sr, luma = BASELINES[self.model](pair)
        return Result(sr, time.perf_counter() - start, luma)


class NetworkRunner:
    """A network through `Upscaler`, at one depth or budget."""

    is_network = True

    def __init__(self, upscaler: Upscaler, target: Target, *, identity: str, self_ensemble: bool) -> None:
        config = upscaler.network.config
        try:
            target.check(config.n_resblocks, adaptive=config.adaptive)
        except InputError as error:
            raise InputError(f"{upscaler.name}: {error}") from error
        self.model, self.identity, self.target = upscaler.name, identity, target
        self._upscaler, self._self_ensemble = upscaler, self_ensemble
        share = target.budget or (1.0 if target.depth is None else target.depth / config.n_resblocks)
        self.weight = max(share, 0.1) * (8 if self_ensemble else 1)

    def least_budget(self, height: int, width: int) -> float:
        """What an adaptive network costs that runs no block, of the full network's cost."""
        network = self._upscaler.network
        body, side, costs = network.body.tensors(), network.config.depth_tile, CostModel(network.config)
        rest = costs.head(height, width) + costs.tail(height, width)
        nowhere = torch.zeros(1, network.config.n_groups, -(-height // side), -(-width // side))
        least = rest + costs.adapter(height, width) + Cost(body=body_macs(body, nowhere, 1, height, width))
        return least.total / (rest.total + body_macs(body, None, 1, height, width))

    def __call__(self, pair: Pair) -> Result:
        depth, budget = self.target.depth, self.target.budget
        if self._self_ensemble:
            sr, depth_maps, reports = run_ensemble(self._upscaler, pair.lr, depth, budget)
        else:
            upscaled = self._upscaler(pair.lr, depth=depth, budget=budget)
            sr, depth_maps, reports = upscaled.image, [upscaled.depth_map], [upscaled.report]
        return Result(
            sr,
            seconds=sum(report.seconds for report in reports),
            executed_gmacs=sum(report.executed_gmacs for report in reports),
            dense_gmacs=sum(report.dense_gmacs for report in reports),
            mean_depth=float(np.mean([report.mean_depth for report in reports])),
            paper=self._paper(depth_maps),
            depth_map=np.mean(depth_maps, axis=0),
        )

    def _paper(self, depth_maps: list[npt.NDArray[np.float32]]) -> PaperCost:
        config = self._upscaler.network.config
        costs = [paper_cost(config, depth_map, *depth_map.shape[1:]) for depth_map in depth_maps]
        return PaperCost(
            sum(cost.gflops for cost in costs),
            sum(cost.dense_gflops for cost in costs),
            float(np.mean([cost.mean_depth for cost in costs])),
        )


@dataclass(frozen=True)
class RunnerOptions:
    """How every network runs; see `Upscaler`. targets: what each adaptive one is asked for."""

    scale: int
    targets: tuple[Target, ...]
    backend: str
    device: str
    tile: int | None
    memory: int | None
    self_ensemble: bool


def open_runners(sources: tuple[str, ...], options: RunnerOptions) -> list[Runner]:
    """The runners of all models: a baseline and a network without adapter give one each, an adaptive one its targets.

    sources: names of `BASELINES`, else what `checkpoints.load_model` takes. Raises CheckpointError, InputError for a
    model of another scale or a target that a model cannot meet, and BackendError.
    """
    names = [checkpoints.model_name(source) for source in sources]
    runners: list[Runner] = []
    for name, source in zip(names, sources, strict=True):
        if source in BASELINES:
            runners.append(BaselineRunner(source))
        else:
            runners += _network_runners(source if names.count(name) > 1 else name, source, options)
    return runners


def _network_runners(name: str, source: str, options: RunnerOptions) -> list[Runner]:
    network = checkpoints.load_model(source)
    if network.config.scale != options.scale:
        raise InputError(
            f"{source}: is a model for x{network.config.scale}; pass --scale {network.config.scale}, "
            f"or a model for x{options.scale}"
        )
    identity = weights_digest(network)
    upscaler = Upscaler(
        network,
        name=name,
        device=options.device,
        backend=options.backend,
        tile=options.tile,
        memory=options.memory,
    )
    targets = options.targets if network.config.adaptive else (Target(),)
    return [
        NetworkRunner(upscaler, target, identity=identity, self_ensemble=options.self_ensemble) for target in targets
    ]


def weights_digest(network: Network) -> str:
    """A digest of configuration and weights, the same wherever the model came from and however it was stored."""
    digest = hashlib.sha256(repr(network.config).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
