"""The portable sparse body in plain torch: gather the active positions, multiply, scatter back.

Features lie as rows of channels in a buffer with a border of zeros, (N * (H' + 2) * (W' + 2), C), H' and W' being
rounded up to whole tiles. A position is a tile of `side` x `side` pixels; with `side` 1 it is a pixel. It is named by
its corner: the buffer row of the top left pixel of its window, which is the tile and one pixel around it.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.geometry import Box
from adadsr.sparse.body import Attention, Block, Body, BodyRun, Conv, Group
from adadsr.sparse.depth import dilate, expand_tiles, gate
from adadsr.sparse.reference import attention_scale, conv

CHUNK_PIXELS = 4096
"""Pixels whose windows are gathered at once, so that what is gathered stays in cache."""


def run_gather(
    body: Body, z0: Tensor, depth_map: Tensor | None = None, progress: Callable[[float], None] = lambda share: None
) -> BodyRun:
    """The body of `run_reference`, evaluated at active positions only. Not differentiable.

    z0: (N, C, H, W). depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks; None runs every block densely.
    progress: called with the share of the blocks that is done.
    """
    blocks = sum(len(group.blocks) for group in body.groups)
    canvas = _Canvas(z0, body.depth_tile, lambda done: progress(done / blocks))
    for index, group in enumerate(body.groups):
        start = None if group.conv is None else canvas.image.clone()
        if depth_map is None:
            for block in group.blocks:
                canvas.dense_block(block, None, canvas.whole)
        else:
            _run_group(canvas, group, depth_map[:, index : index + 1])
        if group.conv is not None and start is not None:
            canvas.image.copy_(canvas.dense_conv(group.conv) + start)
    return BodyRun(canvas.dense_conv(body.conv) + z0, canvas.macs)


def _run_group(canvas: "_Canvas", group: Group, depth_map: Tensor) -> None:
    """The blocks of one group. depth_map: (N, 1, h, w), one depth for each position."""
    depths = depth_map.flatten()
    reach = dilate(depth_map).flatten() if canvas.side == 1 else depths
    for number, block in enumerate(group.blocks):
        active = torch.nonzero(depths > number).flatten()
        if not len(active):
            return
        box = canvas.filled_box(active)
        if box is not None:
            weight = expand_tiles(gate(depth_map, number), canvas.side, canvas.height, canvas.width)
            canvas.dense_block(block, box.of(weight), box)
        else:
            first = active if canvas.side > 1 else torch.nonzero(reach > number).flatten()
            canvas.sparse_block(block, first, active, gate(depths[active], number))


class _Canvas:
    """The buffers of one pass over one batch, the arithmetic of their rows, and the count of what was computed."""

    def __init__(self, z0: Tensor, side: int, progress: Callable[[int], None]) -> None:
        """progress: called with the number of blocks that are done."""
        self.side, self.macs, self.blocks_done, self.progress = side, 0, 0, progress
        self.batch, self.channels, self.height, self.width = z0.shape
        self.whole = Box(0, 0, self.height, self.width)
        self.grid = (-(-self.height // side), -(-self.width // side))
        self.rows, self.columns = (count * side + 2 for count in self.grid)
        self.z, self.hidden = (z0.new_zeros(self.batch * self.rows * self.columns, self.channels) for _ in range(2))
        self.sum_type = torch.promote_types(z0.dtype, torch.float32)  # sums over an image leave the range of float16
        self.image = self._view(self.z, self.whole)
        self.image.copy_(z0)
        self.inside = z0.new_zeros(len(self.z), 1)
        self._view(self.inside, self.whole).fill_(1)
        images = torch.arange(self.batch, device=z0.device) * (self.rows * self.columns)
        tops, lefts = (torch.arange(count, device=z0.device) * side for count in self.grid)
        self.corners = (images[:, None, None] + tops[:, None] * self.columns + lefts).flatten()

    def _view(self, buffer: Tensor, box: Box) -> Tensor:
        """A part of the image inside a buffer, (N, C, h, w); one pixel around the image may be asked for, too."""
        planes = buffer.view(self.batch, self.rows, self.columns, -1).permute(0, 3, 1, 2)
        return box.relative_to(Box(-1, -1, 0, 0)).of(planes)

    def _square(self, first: int, size: int) -> Tensor:
        """From a corner to the buffer rows of a square of `size` pixels that starts `first` pixels further in."""
        steps = torch.arange(first, first + size, device=self.z.device)
        return (steps[:, None] * self.columns + steps).flatten()

    def _pixels(self, positions: Tensor) -> Tensor:
        """Buffer rows of the pixels of positions: (n,) -> (n * side * side,)."""
        return (self.corners[positions][:, None] + self._square(1, self.side)).flatten()

    def filled_box(self, positions: Tensor) -> Box | None:
        """The rectangle of pixels that sorted positions fill without a gap, None where they do not.

        Of tiles only all of them count as a rectangle: a part of them would have to leave out hanging pixels.
        """
        if len(positions) == len(self.corners):
            return self.whole
        if self.side > 1 or self.batch > 1:
            return None
        rows, columns = positions // self.width, positions % self.width
        box = Box(int(rows[0]), int(columns.min()), int(rows[-1]) + 1, int(columns.max()) + 1)
        return box if box.height * box.width == len(positions) else None

    def dense_conv(self, weights: Conv) -> Tensor:
        """A conv of the image at every pixel."""
        self.macs += self.batch * self.height * self.width * weights.weight.numel()
        return conv(self.image, weights)

    def dense_block(self, block: Block, weight: Tensor | None, box: Box) -> None:
        """A block that is active everywhere in `box` and nowhere else. weight: its gate, (N, 1, h, w), None for 1."""
        first = box.grown(1, self.whole)
        self._view(self.hidden, first).copy_(F.relu(self._conv_in(self.z, first, block.conv1)))
        update = self._conv_in(self.hidden, box, block.conv2)
        if weight is not None:
            update = (update * weight).to(self.z.dtype)
        if block.attention is not None:
            total = update.sum(dim=(2, 3), dtype=self.sum_type)
            update = update * self._attention(block.attention, total)[..., None, None]
        self._view(self.z, box).add_(update)
        if self.side > 1:
            self.hidden.zero_()
        self._block_done()

    def _conv_in(self, source: Tensor, box: Box, weights: Conv) -> Tensor:
        """A conv at the pixels of a rectangle: (N, C', h, w)."""
        self.macs += self.batch * box.height * box.width * weights.weight.numel()
        window = self._view(source, Box(box.top - 1, box.left - 1, box.bottom + 1, box.right + 1))
        return F.conv2d(window, weights.weight, weights.bias)

    def sparse_block(self, block: Block, first: Tensor, active: Tensor, weight: Tensor) -> None:
        """A block at some positions: `first` of its first conv, `active` of its second, whose gates are `weight`."""
        for positions in self._chunks(first):
            rows = self._pixels(positions)
            self.hidden[rows] = F.relu(self._conv_at(self.z, positions, block.conv1)) * self.inside[rows]
        updates = []
        for positions, weights in zip(self._chunks(active), self._chunks(weight), strict=True):
            update = self._conv_at(self.hidden, positions, block.conv2)
            updates.append((update * weights.repeat_interleave(self.side**2)[:, None]).to(self.z.dtype))
        rows, update = self._pixels(active), torch.cat(updates)
        update *= self.inside[rows]
        if block.attention is not None:
            image_of = rows // (self.rows * self.columns)
            total = update.new_zeros(self.batch, self.channels, dtype=self.sum_type)
            total.index_add_(0, image_of, update.to(self.sum_type))
            update *= self._attention(block.attention, total)[image_of]
        self.z.index_add_(0, rows, update)
        if self.side > 1:
            # Outside its mask a tile's hidden features count as zero, also for the next block's neighbours.
            self.hidden[self._pixels(first)] = 0
        self._block_done()

    def _block_done(self) -> None:
        self.blocks_done += 1
        self.progress(self.blocks_done)

    def _chunks(self, entries: Tensor) -> Iterator[Tensor]:
        return iter(torch.split(entries, max(1, CHUNK_PIXELS // self.side**2)))

    def _conv_at(self, source: Tensor, positions: Tensor, weights: Conv) -> Tensor:
        """A conv at the pixels of positions: rows of C' channels, (n * side * side, C')."""
        self.macs += len(positions) * self.side**2 * weights.weight.numel()
        corners, out_channels = self.corners[positions], len(weights.bias)
        if self.side == 1:
            taps = weights.weight.permute(2, 3, 1, 0).flatten(0, 1)
            out = weights.bias.expand(len(corners), -1).clone()
            for offset, tap in zip(self._square(0, 3), taps, strict=True):
                out.addmm_(source.index_select(0, corners + offset), tap)
            return out
        size = self.side + 2
        rows = (corners[:, None] + self._square(0, size)).flatten()
        windows = source.index_select(0, rows).view(-1, size, size, self.channels).permute(0, 3, 1, 2)
        return F.conv2d(windows, weights.weight, weights.bias).permute(0, 2, 3, 1).reshape(-1, out_channels)

    def _attention(self, attention: Attention, total: Tensor) -> Tensor:
        """The weight of each channel, (N, C), from the channels' sums: what is not active counts as zero."""
        self.macs += self.batch * 2 * attention.squeeze.weight.numel()
        return attention_scale(attention, total / (self.height * self.width))
