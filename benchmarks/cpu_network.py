"""Whole networks on the native engine, at full and half depth, against dense runtimes with the same weights.

`python benchmarks/cpu_network.py [--rounds 9] [--threads N] [--cases NAME...] [--peers NAME...] [--cpu-time]
[--avx2] [--precision bfloat16]`. The weights are random: time does not depend on them. Equality is checked first. The
last line is JSON.

The EDSR-baselines are body and tail for features of 180x320 pixels; half the depth is a random map of mean 8 of 16.
The others are whole networks on an LR image, where half is a desired depth of half the blocks: ours then runs its
adapter, too. The peers run the same network without an adapter, at full depth. esrgan-x4 has the form of Real-ESRGAN's
x4plus, esrgan-anime-x4 that of its anime network, compact-x4 that of animevideov3; the first two as `adadsr adapt`
makes them, with exits. In bfloat16, on processors with AMX, only peers that compute in it run.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np
import torch
from networks import random_model
from peers import (
    PEERS,
    add_avx2_option,
    check_equal,
    cpu_milliseconds,
    environment,
    limit_to_avx2,
    open_peers,
    open_torch,
    row,
    spread,
    time_in_turns,
    warm_milliseconds,
)
from torch import Tensor, nn

from adadsr import Execution, Upscaler, backends
from adadsr.geometry import Box
from adadsr.networks import Network, NetworkConfig
from adadsr.tensor_ops import OPS

BASELINES = {f"edsr-baseline-x{s}": NetworkConfig("edsr", s, 64, 16, 1, adaptive=True, depth_tile=4) for s in (2, 3, 4)}
WHOLE = {
    "adaedsr-x2": (NetworkConfig("edsr", 2, 256, 32, 1, adaptive=True, depth_tile=4), (96, 96)),
    "adarcan-x2": (NetworkConfig("rcan", 2, 64, 20, 10, adaptive=True, depth_tile=4), (96, 96)),
    "esrgan-x4": (NetworkConfig("esrgan", 4, 64, 23, 1, True, 4, growth=32, exits=True), (96, 96)),
    "esrgan-anime-x4": (NetworkConfig("esrgan", 4, 64, 6, 1, True, 4, growth=32, exits=True), (128, 128)),
    "compact-x4": (NetworkConfig("compact", 4, 64, 16), (180, 320)),
}
"""Configuration, height and width."""
HEIGHT, WIDTH = 180, 320
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
PIECE_BLOCKS = 6
"""Blocks of ESRGAN that pnnx converts at a time: for 23 it takes more than 18 GB of memory."""
Ours = dict[tuple[str, float], Callable[[], np.ndarray]]


class BodyAndTail(nn.Module):
    """What follows the features of a network, at full depth."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, z0: Tensor) -> Tensor:
        weights = self.network.weights()
        return weights.head.denormalise(OPS, weights.tail.run(OPS, weights.body.run(OPS, z0), z0[:, :3]))


class Dense(nn.Module):
    """A network without its adapter, at full depth."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        return self.network.weights().run(OPS, lr)

    def pieces(self) -> list[nn.Module]:
        """The network in pieces to be run one after another, for converters that cannot take all of it at once."""
        blocks = self.network.config.n_resblocks
        if self.network.config.backbone != "esrgan" or blocks <= PIECE_BLOCKS:
            return [self]
        return [
            Piece(self.network, first, min(first + PIECE_BLOCKS, blocks)) for first in range(0, blocks, PIECE_BLOCKS)
        ]


class Piece(nn.Module):
    """The blocks first .. last - 1 of an ESRGAN, with what comes before and after them if they are its first or last.

    Between pieces, features lie beside those of the head, (N, 2C, H, W).
    """

    def __init__(self, network: Network, first: int, last: int) -> None:
        super().__init__()
        self.network, self.first, self.last = network, first, last

    def forward(self, x: Tensor) -> Tensor:
        weights = self.network.weights()
        body, conv = weights.body, weights.body.conv
        assert conv is not None
        z0, z = x.chunk(2, dim=1) if self.first else (weights.head.run(OPS, x),) * 2
        group = body.groups[0]._replace(blocks=body.blocks[self.first : self.last])
        z = body._replace(groups=(group,), conv=None, exits=()).run(OPS, z)
        if self.last < body.n_blocks:
            return torch.cat([z0, z], dim=1)
        return weights.restore(OPS, z0[:, :3], conv.run(OPS, z) + z0)


def baseline(case: str, threads: int, precision: str) -> tuple[nn.Module, Tensor, Ours]:
    """What peers run, on what, and what ours runs: by mask and active share."""
    config = BASELINES[case]
    model, lr = random_model(config), torch.rand(1, HEIGHT, WIDTH, 3) * 255
    network = Network.of(model).requires_grad_(False)
    z0 = network.weights().head.run(OPS, lr.permute(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    weights, ours = model.weights(), {}
    for mask, unit in (("tiles", config.depth_tile), ("pixels", 1)):
        masked = weights._replace(adapter=None, body=weights.body._replace(depth_tile=unit))
        engine = backends.prepare(masked, "native", precision=precision, threads=threads)
        features = engine.features(lr)
        blocks = np.random.default_rng(0).random((1, *masked.map_shape(HEIGHT, WIDTH)), np.float32)

        def run(depth: np.ndarray | None, engine=engine, features=features) -> np.ndarray:
            sr = engine.tail(engine.body(features, depth), Box(0, 0, HEIGHT, WIDTH))
            return sr.transpose(0, 3, 1, 2)

        half = np.floor(blocks * (config.n_resblocks + 1))
        ours[mask, 0.5] = lambda run=run, half=half: run(half)
        if mask == "tiles":
            ours[mask, 1.0] = lambda run=run: run(None)
    return BodyAndTail(network), z0, ours


def whole(case: str, threads: int, precision: str) -> tuple[nn.Module, Tensor, Ours]:
    """The same for a network from LR to SR."""
    config, size = WHOLE[case]
    model, lr = random_model(config), torch.rand(1, 3, *size) * 255
    # As the peers do, without a border, and without the clipping that would hide differences.
    engine = backends.prepare(model.weights(), "native", precision=precision, threads=threads)
    images = lr.permute(0, 2, 3, 1).contiguous().numpy()
    upscaler = Upscaler(model, Execution(backend="native", precision=precision, threads=threads, border="zero"))

    def full() -> np.ndarray:
        sr = engine.tail(engine.body(engine.features(images)), Box(0, 0, *size))
        return sr.transpose(0, 3, 1, 2)

    ours: Ours = {("tiles", 1.0): full}
    if config.adaptive:
        half = config.n_resblocks / 2
        ours["tiles", 0.5] = lambda: upscaler(lr, depth=half).image.numpy()
    return Dense(Network.of(model).requires_grad_(False)), lr, ours


def measure(case: str, rounds: int, threads: int, names: list[str], cpu_time: bool, precision: str) -> list[dict]:
    """The rows of one case."""
    made = (baseline if case in BASELINES else whole)(case, threads, precision)
    module, example, ours = made
    is_half = precision != "float32"
    with torch.inference_mode():
        peers = open_peers(module, example.clone(), threads, names, bfloat16=is_half)
    exact = open_torch(module, example) if is_half else None
    check_equal(peers | {"ours": ours["tiles", 1.0]}, TOLERANCE[precision], exact)
    runners = peers | {f"{mask} {active}": run for (mask, active), run in ours.items()}
    times = time_in_turns(runners, rounds, cpu_milliseconds if cpu_time else warm_milliseconds)
    for name in peers:
        print(f"{name:12} {'does not run' if times[name] is None else spread(times[name])}")
    return [row(case, mask, active, times[f"{mask} {active}"], times) for mask, active in sorted(ours)]


def main() -> None:
    """Measure all cases."""
    cases = [*BASELINES, *WHOLE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases)
    parser.add_argument("--cpu-time", action="store_true", help="time of the processor, for machines that are not idle")
    parser.add_argument("--precision", choices=TOLERANCE, default="float32")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    add_avx2_option(parser)
    arguments = parser.parse_args()
    if arguments.avx2:
        limit_to_avx2()
    torch.set_num_threads(arguments.threads)
    options = arguments.rounds, arguments.threads, arguments.peers, arguments.cpu_time, arguments.precision
    rows = [entry for case in arguments.cases for entry in measure(case, *options)]
    print(json.dumps({"rows": rows, "precision": arguments.precision, **environment(arguments.threads)}))


if __name__ == "__main__":
    main()
