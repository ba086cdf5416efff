"""The kernels of the Triton engine; `triton_launch` starts them, and tests/test_triton_kernels.py holds each to torch.

Features lie channels innermost: an image is height * width rows of numbers. A position is a tile of SIDE x SIDE pixels
(with SIDE 1 a pixel); positions are numbered in raster order within an image, `columns` to a row. A program takes ROWS
pixels of a list of positions, then the next ones that no other program takes, up to the end of the list, whose length
it reads on the device.
"""

import triton
import triton.language as tl

NUMBERS = ("height", "width", "columns", "positions", "block", "blocks", "group", "groups")
"""Arguments for whose values nothing is compiled anew: a graph that is being recorded could not wait for that."""


@triton.jit
def _list_length(counts, image, block, blocks, group, groups, positions, LISTED: tl.constexpr):
    """How many positions of an image run a block of a group: all of them where there is no list."""
    if LISTED:
        return tl.load(counts + (image * groups + group) * blocks + block)
    return positions


@triton.jit
def _pixels(listed, number, count, image, height, width, columns, positions, group, groups,
            SIDE: tl.constexpr, LISTED: tl.constexpr):  # fmt: skip
    """Pixels `number` of a list: whether there is such a pixel, its y, its x, and its position."""
    entry = number // (SIDE * SIDE)
    inner = number % (SIDE * SIDE)
    valid = entry < count
    if LISTED:
        position = tl.load(listed + (image * groups + group).to(tl.int64) * positions + entry, mask=valid, other=0)
    else:
        position = entry
    y = position // columns * SIDE + inner // SIDE
    x = position % columns * SIDE + inner % SIDE
    return valid & (y < height) & (x < width), y, x, position


@triton.jit
def _gate(depth, position, valid, image, positions, block, group, groups):
    """Weight of a block at positions (arXiv:2004.03915, eq. 4); 0 where not valid."""
    places = (image * groups + group).to(tl.int64) * positions + position
    return tl.minimum(tl.maximum(tl.load(depth + places, mask=valid, other=0.0) - block, 0.0), 1.0)


@triton.jit
def _store(value, bias, out, plus, rows, valid, gate, start, WIDTH: tl.constexpr, OUT: tl.constexpr,
           RELU: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr):  # fmt: skip
    """out = [plus +] [gate *] [relu](value + bias), for WIDTH features from `start` on; returns it without `plus`.

    Pixels whose gate is closed keep what `out` holds; with RELU they become 0: there the gate is a mask. What is
    returned is 0 for them and for what is not valid.
    """
    features = start + tl.arange(0, WIDTH)
    inside = features < OUT
    value += tl.load(bias + features, mask=inside, other=0.0)[None, :]
    open_ = valid
    if GATED:
        open_ = valid & (gate > 0)
    if RELU:
        value = tl.where(value < 0, 0.0, value)  # what is no number stays so, unlike with tl.maximum
    elif GATED:
        value *= gate[:, None]
    value = tl.where(open_[:, None], value, 0.0)
    if not RELU:
        valid = open_
    places = rows[:, None] * OUT + features[None, :]
    stored = value
    if ADD:
        stored += tl.load(plus + places, mask=valid[:, None] & inside[None, :], other=0.0).to(tl.float32)
    tl.store(out + places, stored.to(out.dtype.element_ty), mask=valid[:, None] & inside[None, :])
    return value


@triton.jit
def _products(centre, weight, valid, y, x, start, height, width,
              IN: tl.constexpr, OUT: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, CACHE: tl.constexpr,
              ROWS: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """The conv at ROWS pixels (y, x), whose features begin at `centre`, for WIDTH features from `start` on: float32.

    A step multiplies (ROWS, DEPTH), one tap's neighbours, gathered, by (DEPTH, WIDTH). The nine taps of the same
    channels follow each other, so that what they share is still in cache. WIDEN: multiply in float32; the interpreter
    cannot multiply bfloat16.
    """
    value = tl.zeros([ROWS, WIDTH], tl.float32)
    for step in range(9 * ((IN + DEPTH - 1) // DEPTH)):
        tap = step % 9
        channels = step // 9 * DEPTH + tl.arange(0, DEPTH)
        features = start + tl.arange(0, WIDTH)
        down = tap // 3 - 1
        right = tap % 3 - 1
        near = valid & (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
        neighbours = centre[:, None] + ((down * width + right) * IN + channels)[None, :]
        taps = weight + ((features * 9 + tap) * IN)[None, :] + channels[:, None]
        if IN % DEPTH == 0:
            a = tl.load(neighbours, mask=near[:, None], other=0.0, cache_modifier=CACHE)
            b = tl.load(taps, mask=(features < OUT)[None, :], other=0.0)
        else:
            a = tl.load(neighbours, mask=near[:, None] & (channels < IN)[None, :], other=0.0)
            b = tl.load(taps, mask=(features < OUT)[None, :] & (channels < IN)[:, None], other=0.0)
        if WIDEN:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        value = tl.dot(a, b, value, input_precision=PRECISION)
    return value


@triton.jit(do_not_specialize=NUMBERS)
def conv_kernel(source, weight, bias, out, plus, depth, listed, counts, sums,
                height, width, columns, positions, block, blocks, group, groups,
                IN: tl.constexpr, OUT: tl.constexpr, SIDE: tl.constexpr, LISTED: tl.constexpr, RELU: tl.constexpr,
                GATED: tl.constexpr, ADD: tl.constexpr, SUMS: tl.constexpr, CLEAR: tl.constexpr,
                PRECISION: tl.constexpr, WIDEN: tl.constexpr, CACHE: tl.constexpr,
                ROWS: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """out = [plus +] [gate *] [relu](conv3x3(source) + bias) at the listed positions of a block.

    source: (N, H, W, IN). weight: (OUT, 3, 3, IN), of the type of `source`. bias: (OUT,) float32. out, plus: (N, H, W,
    OUT). depth: (N, groups, positions) float32. listed: the same in int32, deepest first. counts: (N, groups, blocks)
    int32. sums: (N, programs, OUT) float32; with SUMS each program's sum of what it gated.
    CLEAR: what was listed for the block before, and is no more, becomes 0.
    The grid is programs x ceil(OUT / WIDTH) x N. The rest: see `_products`.
    """
    image = tl.program_id(2)
    start = tl.program_id(1) * WIDTH
    first = image.to(tl.int64) * height * width
    count = _list_length(counts, image, block, blocks, group, groups, positions, LISTED)
    total = tl.zeros([WIDTH], tl.float32)
    for part in range(tl.program_id(0), tl.cdiv(count * SIDE * SIDE, ROWS), tl.num_programs(0)):
        number = part * ROWS + tl.arange(0, ROWS)
        valid, y, x, position = _pixels(
            listed, number, count, image, height, width, columns, positions, group, groups, SIDE, LISTED
        )
        rows = first + y * width + x
        value = _products(source + rows * IN, weight, valid, y, x, start, height, width,
                          IN, OUT, PRECISION, WIDEN, CACHE, ROWS, WIDTH, DEPTH)  # fmt: skip
        gate = valid.to(tl.float32)
        if GATED:
            gate = _gate(depth, position, valid, image, positions, block, group, groups)
        if WIDTH >= 128 and not SUMS:
            # Half of the features at a time: all of them would not stay in registers beside their addresses.
            HALF: tl.constexpr = WIDTH // 2
            left, right = tl.split(tl.permute(tl.reshape(value, [ROWS, 2, HALF]), (0, 2, 1)))
            _store(left, bias, out, plus, rows, valid, gate, start, HALF, OUT, RELU, GATED, ADD)
            _store(right, bias, out, plus, rows, valid, gate, start + HALF, HALF, OUT, RELU, GATED, ADD)
        else:
            value = _store(value, bias, out, plus, rows, valid, gate, start, WIDTH, OUT, RELU, GATED, ADD)
            if SUMS:
                total += tl.sum(value, axis=0)
    features = start + tl.arange(0, WIDTH)
    if SUMS:
        places = (image * tl.num_programs(0) + tl.program_id(0)) * OUT + features
        tl.store(sums + places, total, mask=features < OUT)
    if CLEAR:
        before = _list_length(counts, image, tl.maximum(block - 1, 0), blocks, group, groups, positions, LISTED)
        dropped = (before - count) * SIDE * SIDE
        for part in range(tl.program_id(0), tl.cdiv(dropped, ROWS), tl.num_programs(0)):
            number = count * SIDE * SIDE + part * ROWS + tl.arange(0, ROWS)
            valid, y, x, _ = _pixels(
                listed, number, before, image, height, width, columns, positions, group, groups, SIDE, LISTED
            )
            places = (first + y * width + x)[:, None] * OUT + features[None, :]
            nothing = tl.zeros([ROWS, WIDTH], out.dtype.element_ty)
            tl.store(out + places, nothing, mask=valid[:, None] & (features < OUT)[None, :])


@triton.jit(do_not_specialize=NUMBERS)
def finish_kernel(value, bias, out, plus, depth, sums, height, width, columns, positions, block, group, groups,
                  OUT: tl.constexpr, SIDE: tl.constexpr, RELU: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr,
                  SUMS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """What `conv_kernel` does after the conv, at every pixel: `value` (N, H, W, OUT) is the conv without its bias.

    The rest: see there. The grid is programs x ceil(OUT / WIDTH) x N.
    """
    image = tl.program_id(2)
    start = tl.program_id(1) * WIDTH
    features = start + tl.arange(0, WIDTH)
    first = image.to(tl.int64) * height * width
    total = tl.zeros([WIDTH], tl.float32)
    for part in range(tl.program_id(0), tl.cdiv(height * width, ROWS), tl.num_programs(0)):
        pixel = part * ROWS + tl.arange(0, ROWS)
        valid = pixel < height * width
        position = pixel // width // SIDE * columns + pixel % width // SIDE
        gate = valid.to(tl.float32)
        if GATED:
            gate = _gate(depth, position, valid, image, positions, block, group, groups)
        rows = first + pixel
        places = value + rows[:, None] * OUT + features[None, :]
        result = tl.load(places, mask=valid[:, None] & (features < OUT)[None, :], other=0.0).to(tl.float32)
        total += tl.sum(_store(result, bias, out, plus, rows, valid, gate, start, WIDTH, OUT, RELU, GATED, ADD), axis=0)
    if SUMS:
        places = (image * tl.num_programs(0) + tl.program_id(0)) * OUT + features
        tl.store(sums + places, total, mask=features < OUT)


@triton.jit(do_not_specialize=("pixels", "parts"))
def attention_kernel(sums, squeeze, squeeze_bias, excite, excite_bias, scale, pixels, parts,
                     C: tl.constexpr, R: tl.constexpr, CHANNELS: tl.constexpr, REDUCED: tl.constexpr,
                     PARTS: tl.constexpr):  # fmt: skip
    """Channel attention: scale (N, C) from sums (N, parts, C), all float32, always added up in the same order.

    squeeze: (R, C). excite: (C, R). pixels: of an image; what was not active counts as 0. CHANNELS and REDUCED are
    powers of two not below C and R; PARTS sums are added at once. The grid is N.
    """
    image = tl.program_id(0)
    channels = tl.arange(0, CHANNELS)
    reduced = tl.arange(0, REDUCED)
    mean = tl.zeros([CHANNELS], tl.float32)
    for begin in range(0, parts, PARTS):
        part = begin + tl.arange(0, PARTS)
        places = (image * parts + part)[:, None] * C + channels[None, :]
        mean += tl.sum(
            tl.load(sums + places, mask=(part < parts)[:, None] & (channels < C)[None, :], other=0.0), axis=0
        )
    mean /= pixels
    inside = (reduced < R)[:, None] & (channels < C)[None, :]
    weights = tl.load(squeeze + reduced[:, None] * C + channels[None, :], mask=inside, other=0.0)
    middle = tl.sum(weights * mean[None, :], axis=1) + tl.load(squeeze_bias + reduced, mask=reduced < R, other=0.0)
    middle = tl.where(middle < 0, 0.0, middle)
    weights = tl.load(excite + channels[None, :] * R + reduced[:, None], mask=inside, other=0.0)
    result = tl.sum(weights * middle[:, None], axis=0) + tl.load(excite_bias + channels, mask=channels < C, other=0.0)
    tl.store(scale + image * C + channels, tl.sigmoid(result), mask=channels < C)


@triton.jit(do_not_specialize=NUMBERS)
def add_kernel(z, update, scale, listed, counts, height, width, columns, positions, block, blocks, group, groups,
               C: tl.constexpr, SIDE: tl.constexpr, LISTED: tl.constexpr, ROWS: tl.constexpr,
               WIDTH: tl.constexpr):  # fmt: skip
    """z += scale * update at the listed positions of a block; z, update: (N, H, W, C), scale: (N, C) float32.

    The rest: see `conv_kernel`. The grid is programs x ceil(C / WIDTH) x N.
    """
    image = tl.program_id(2)
    features = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = features < C
    first = image.to(tl.int64) * height * width
    count = _list_length(counts, image, block, blocks, group, groups, positions, LISTED)
    factor = tl.load(scale + image * C + features, mask=inside, other=0.0)
    for part in range(tl.program_id(0), tl.cdiv(count * SIDE * SIDE, ROWS), tl.num_programs(0)):
        number = part * ROWS + tl.arange(0, ROWS)
        valid, y, x, _ = _pixels(
            listed, number, count, image, height, width, columns, positions, group, groups, SIDE, LISTED
        )
        places = (first + y * width + x)[:, None] * C + features[None, :]
        mask = valid[:, None] & inside[None, :]
        change = tl.load(update + places, mask=mask, other=0.0).to(tl.float32) * factor[None, :]
        tl.store(z + places, (tl.load(z + places, mask=mask, other=0.0) + change).to(z.dtype.element_ty), mask=mask)
