"""One 3x3 conv on the native engine, at tiles and at pixels of several densities, against dense runtimes.

`python benchmarks/cpu_conv.py [--rounds 15] [--threads N] [--cases NAME...] [--avx2]`. Equality is checked first.
The last line is JSON.
"""

import argparse
import json

import numpy as np
import torch
from peers import add_avx2_option, check_equal, environment, limit_to_avx2, open_peers, row, spread, time_in_turns
from torch import nn

from adadsr.backends.native import _native
from adadsr.backends.native.tile_threshold import tile_threshold
from adadsr.backends.native.workspaces import chosen_isa

CASES = (("conv-c64", 64, 180, 320), ("conv-c256", 256, 96, 96))
DENSITIES = (1.0, 0.75, 0.5, 0.25, 0.1)
PEER_TOLERANCE, TOLERANCE = 1e-4, 1e-5


class OneConv(nn.Module):
    """A conv with a name, which some converters need."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Ours:
    """The same conv on the native engine, at the tiles or pixels of a random mask."""

    def __init__(self, conv: nn.Conv2d, features: torch.Tensor, threads: int) -> None:
        batch, channels, height, width = features.shape
        weight, bias, isa = conv.weight.detach(), conv.bias.detach(), chosen_isa(None)
        self.tiles = _native.TileWeights(weight, bias, isa)
        self.pixels = _native.PixelWeights(weight, bias, isa)
        self.source, self.out = (_native.Canvas(batch, height, width, channels) for _ in range(2))
        self.source.view()[...] = features.permute(0, 2, 3, 1).numpy()
        self.scratch, self.threads = _native.Scratch(), threads
        self.break_even = tile_threshold(channels, isa, threads).pixels
        self.generator = torch.Generator().manual_seed(0)

    def at_tiles(self, density: float):
        """What runs the conv at that share of the tiles."""
        count = self.source.tiles
        chosen = torch.randperm(count, generator=self.generator)[: round(density * count)].sort().values
        positions = _native.Positions(chosen.int())

        def run() -> np.ndarray:
            _native.conv_tiles(self.tiles, self.source, self.out, positions, self.scratch, self.threads)
            return self.out.view().transpose(0, 3, 1, 2)

        return run

    def at_pixels(self, density: float):
        """What runs the conv at that share of the pixels, choosing between tiles and single pixels."""
        height, width = self.source.view().shape[1:3]
        smooth = torch.rand(1, 1, height, width, generator=self.generator)
        cut = smooth.flatten().sort().values[round((1 - density) * smooth.numel()) - 1] if density < 1 else -1.0
        depths = _native.Depths((smooth[0] > cut).float())
        tiles, pixels = _native.Positions(), _native.Positions()

        def run() -> np.ndarray:
            _native.select_pixels(depths, 0.0, self.break_even, tiles, pixels, self.threads)
            _native.conv_tiles(self.tiles, self.source, self.out, tiles, self.scratch, self.threads)
            _native.conv_pixels(self.pixels, self.source, self.out, pixels, self.threads)
            return self.out.view().transpose(0, 3, 1, 2)

        return run


def measure(case: str, channels: int, height: int, width: int, rounds: int, threads: int) -> list[dict]:
    """The rows of one size."""
    torch.manual_seed(0)
    module, features = OneConv(channels), torch.randn(1, channels, height, width)
    peers = open_peers(module, features, threads)
    ours = Ours(module.conv, features, threads)
    runs = {("tiles", d): ours.at_tiles(d) for d in DENSITIES} | {("pixels", d): ours.at_pixels(d) for d in DENSITIES}
    check_equal(peers, PEER_TOLERANCE)
    check_equal({"torch": peers["torch"], "ours": runs["tiles", 1.0]}, TOLERANCE)
    check_equal({"torch": peers["torch"], "ours": runs["pixels", 1.0]}, TOLERANCE)
    times = time_in_turns(peers | {f"{mask} {density}": run for (mask, density), run in runs.items()}, rounds)
    for name in peers:
        print(f"{name:12} {'does not run' if times[name] is None else spread(times[name])}")
    return [row(case, mask, density, times[f"{mask} {density}"], times) for mask, density in runs]


def main() -> None:
    """Measure all sizes."""
    names = [name for name, *_ in CASES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    add_avx2_option(parser)
    arguments = parser.parse_args()
    if arguments.avx2:
        limit_to_avx2()
    torch.set_num_threads(arguments.threads)
    rows = []
    for case in CASES:
        if case[0] not in arguments.cases:
            continue
        rows += measure(*case, arguments.rounds, arguments.threads)
    print(json.dumps({"rows": rows, **environment(arguments.threads)}))


if __name__ == "__main__":
    main()
