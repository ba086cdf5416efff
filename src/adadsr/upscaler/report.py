"""What one call asked for, and what it did."""

from dataclasses import dataclass

import torch

from adadsr.errors import InputError

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Types that body and tail can run in."""


@dataclass(frozen=True)
class Target:
    """How much of the network to run; at most one of the two is given, neither is full depth.

    depth: the paper's desired depth, 0..n_resblocks, in blocks.
    budget: fraction of the dense network's multiply-accumulates, in (0, 1].
    """

    depth: float | None = None
    budget: float | None = None

    def check(self, n_blocks: int, *, adaptive: bool) -> None:
        """Raise InputError where a network of `n_blocks` blocks cannot do this."""
        if self.depth is not None and self.budget is not None:
            raise InputError(f"depth={self.depth:g} and budget={self.budget:g} are both given; give one of them")
        if self.depth is not None and not 0 <= self.depth <= n_blocks:
            raise InputError(f"depth={self.depth:g} is outside 0..{n_blocks}, the blocks of this network")
        if self.budget is not None and not 0 < self.budget <= 1:
            raise InputError(f"budget={self.budget:g} is outside (0, 1]; 1 is the full network")
        if not adaptive and not self.is_full(n_blocks):
            raise InputError("this network has no adapter and runs at full depth only; choose an adaptive one")

    def is_full(self, n_blocks: int) -> bool:
        """Whether every block runs everywhere, by request."""
        return self.budget == 1 or (self.budget is None and (self.depth is None or self.depth == n_blocks))


@dataclass(frozen=True)
class Report:
    """One run. Sizes are (width, height) in pixels; a GMAC is 10^9 multiply-accumulates.

    requested_depth, requested_budget: what was asked for, None where it was not.
    requested_precision, precision: the type that body and tail were to run in, and the one that gave the result, which
        is float32 where the other gave values that are no numbers or infinite.
    achieved_budget: cost of the depth map on the whole image, as a fraction of the dense network's; of an image in one
        tile it is executed_gmacs / dense_gmacs, in several tiles their overlap is left out.
    mean_depth: blocks a position, a fraction counted as a fraction.
    executed_gmacs: what ran, counted as the network defines its convs; head, adapter, body and tail in `parts`.
    dense_gmacs: the full-depth network without an adapter, run in the same tiles (in one tile: the dense network).
    tiles: pieces the image was cut into; their overlap is counted in both figures above.
    exact: whether the result equals that of the whole image; False where channel attention saw tiles only.
    seconds: from the decoded input to the decoded output.
    """

    model: str
    backend: str
    device: str
    scale: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    requested_depth: float | None
    requested_budget: float | None
    requested_precision: str
    precision: str
    achieved_budget: float
    mean_depth: float
    executed_gmacs: float
    dense_gmacs: float
    parts: dict[str, float]
    tiles: int
    exact: bool
    seconds: float
