"""The kernels of the Triton engine; `launch` starts them, and tests/test_gpu_kernels.py holds each to torch.

Features lie channels innermost: an image is a matrix of height * width rows of channels. A position is a tile of
SIDE x SIDE pixels (with SIDE 1 a pixel); positions are numbered in raster order within an image, `columns` to a row. A
program takes BLOCK_M pixels of a list of positions, then the next ones that no other program takes, up to the end of
the list, whose length it reads on the device.
"""

import triton
import triton.language as tl

UNSPECIALIZED = ("height", "width", "columns", "n_positions", "block", "n_blocks", "group", "n_groups")
"""Arguments for whose values nothing is compiled anew: a graph that is being recorded could not wait for that."""


@triton.jit
def _list_length(counts, image, block, n_blocks, group, n_groups, n_positions, LISTED: tl.constexpr):
    """How many positions of an image run a block of a group: all of them where there is no list."""
    if LISTED:
        return tl.load(counts + (image * n_groups + group) * n_blocks + block)
    return n_positions


@triton.jit
def _pixels(listed, number, count, image, height, width, columns, n_positions, group, n_groups,
            SIDE: tl.constexpr, LISTED: tl.constexpr):  # fmt: skip
    """Pixels `number` of a list: whether there is such a pixel, its y, its x, and its position."""
    entry = number // (SIDE * SIDE)
    inner = number % (SIDE * SIDE)
    valid = entry < count
    if LISTED:
        first = (image * n_groups + group).to(tl.int64) * n_positions
        position = tl.load(listed + first + entry, mask=valid, other=0)
    else:
        position = entry
    y = position // columns * SIDE + inner // SIDE
    x = position % columns * SIDE + inner % SIDE
    return valid & (y < height) & (x < width), y, x, position


@triton.jit
def _gate(depth_map, position, valid, image, n_positions, block, group, n_groups):
    """Weight of a block at positions (arXiv:2004.03915, eq. 4); 0 where not valid."""
    first = (image * n_groups + group).to(tl.int64) * n_positions
    depth = tl.load(depth_map + first + position, mask=valid, other=0.0)
    return tl.minimum(tl.maximum(depth - block, 0.0), 1.0)


@triton.jit
def _store(value, bias, out, addend, rows, valid, gate, n_start, BLOCK_N: tl.constexpr, C_OUT: tl.constexpr,
           RELU: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr):  # fmt: skip
    """out = [addend +] [gate *] [relu](value + bias), for BLOCK_N channels from `n_start`; returns it without `addend`.

    Pixels whose gate is 0 keep what `out` holds; with RELU they become 0: there the gate is a mask. The returned value
    is 0 for them and for invalid pixels.
    """
    n = n_start + tl.arange(0, BLOCK_N)
    in_range = n < C_OUT
    value += tl.load(bias + n, mask=in_range, other=0.0)[None, :]
    active = valid
    if GATED:
        active = valid & (gate > 0)
    if RELU:
        value = tl.where(value < 0, 0.0, value)  # NaN stays NaN, unlike with tl.maximum
    elif GATED:
        value *= gate[:, None]
    value = tl.where(active[:, None], value, 0.0)
    if not RELU:
        valid = active
    offsets = rows[:, None] * C_OUT + n[None, :]
    stored = value
    if ADD:
        stored += tl.load(addend + offsets, mask=valid[:, None] & in_range[None, :], other=0.0).to(tl.float32)
    tl.store(out + offsets, stored.to(out.dtype.element_ty), mask=valid[:, None] & in_range[None, :])
    return value


@triton.jit
def _products(centre, weight, valid, y, x, n_start, height, width,
              C_IN: tl.constexpr, C_OUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
              CACHE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """The conv at BLOCK_M pixels (y, x), whose rows start at `centre`, for BLOCK_N channels from `n_start`, in float32.

    A step multiplies (BLOCK_M, BLOCK_K), one tap's neighbours, gathered, by (BLOCK_K, BLOCK_N). The nine taps of the
    same input channels follow each other, so that the pixels they share are still in cache. UPCAST: multiply in
    float32; the interpreter cannot multiply bfloat16.
    """
    value = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for step in range(9 * ((C_IN + BLOCK_K - 1) // BLOCK_K)):
        tap = step % 9
        k = step // 9 * BLOCK_K + tl.arange(0, BLOCK_K)
        n = n_start + tl.arange(0, BLOCK_N)
        down = tap // 3 - 1
        right = tap % 3 - 1
        near = valid & (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
        neighbours = centre[:, None] + ((down * width + right) * C_IN + k)[None, :]
        taps = weight + ((n * 9 + tap) * C_IN)[None, :] + k[:, None]
        if C_IN % BLOCK_K == 0:
            a = tl.load(neighbours, mask=near[:, None], other=0.0, cache_modifier=CACHE)
            b = tl.load(taps, mask=(n < C_OUT)[None, :], other=0.0)
        else:
            a = tl.load(neighbours, mask=near[:, None] & (k < C_IN)[None, :], other=0.0)
            b = tl.load(taps, mask=(n < C_OUT)[None, :] & (k < C_IN)[:, None], other=0.0)
        if UPCAST:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        value = tl.dot(a, b, value, input_precision=PRECISION)
    return value


@triton.jit(do_not_specialize=UNSPECIALIZED)
def conv_kernel(source, weight, bias, out, addend, depth_map, listed, counts, sums,
                height, width, columns, n_positions, block, n_blocks, group, n_groups,
                C_IN: tl.constexpr, C_OUT: tl.constexpr, SIDE: tl.constexpr, LISTED: tl.constexpr, RELU: tl.constexpr,
                GATED: tl.constexpr, ADD: tl.constexpr, SUMS: tl.constexpr, CLEAR: tl.constexpr,
                PRECISION: tl.constexpr, UPCAST: tl.constexpr, CACHE: tl.constexpr,
                BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """out = [addend +] [gate *] [relu](conv3x3(source) + bias) at the listed positions of a block.

    source: (N, H, W, C_IN). weight: (C_OUT, 3, 3, C_IN), of the type of `source`. bias: (C_OUT,) float32. out, addend:
    (N, H, W, C_OUT). depth_map: (N, n_groups, n_positions) float32. listed: the same in int32, deepest first. counts:
    (N, n_groups, n_blocks) int32. sums: (N, programs, C_OUT) float32; with SUMS each program's sum of gated values.
    CLEAR: pixels that were listed for the block before and no longer are become 0.
    The grid is programs x ceil(C_OUT / BLOCK_N) x N. The rest: see `_products`.
    """
    image = tl.program_id(2)
    n_start = tl.program_id(1) * BLOCK_N
    first_row = image.to(tl.int64) * height * width
    count = _list_length(counts, image, block, n_blocks, group, n_groups, n_positions, LISTED)
    total = tl.zeros([BLOCK_N], tl.float32)
    for step in range(tl.program_id(0), tl.cdiv(count * SIDE * SIDE, BLOCK_M), tl.num_programs(0)):
        number = step * BLOCK_M + tl.arange(0, BLOCK_M)
        valid, y, x, position = _pixels(
            listed, number, count, image, height, width, columns, n_positions, group, n_groups, SIDE, LISTED
        )
        rows = first_row + y * width + x
        value = _products(source + rows * C_IN, weight, valid, y, x, n_start, height, width,
                          C_IN, C_OUT, PRECISION, UPCAST, CACHE, BLOCK_M, BLOCK_N, BLOCK_K)  # fmt: skip
        gate = valid.to(tl.float32)
        if GATED:
            gate = _gate(depth_map, position, valid, image, n_positions, block, group, n_groups)
        if BLOCK_N >= 128 and not SUMS:
            # Half of the channels at a time: all of them would not fit in registers together with their addresses.
            HALF_N: tl.constexpr = BLOCK_N // 2
            left, right = tl.split(tl.permute(tl.reshape(value, [BLOCK_M, 2, HALF_N]), (0, 2, 1)))
            _store(left, bias, out, addend, rows, valid, gate, n_start, HALF_N, C_OUT, RELU, GATED, ADD)
            _store(right, bias, out, addend, rows, valid, gate, n_start + HALF_N, HALF_N, C_OUT, RELU, GATED, ADD)
        else:
            value = _store(value, bias, out, addend, rows, valid, gate, n_start, BLOCK_N, C_OUT, RELU, GATED, ADD)
            if SUMS:
                total += tl.sum(value, axis=0)
    n = n_start + tl.arange(0, BLOCK_N)
    if SUMS:
        offsets = (image * tl.num_programs(0) + tl.program_id(0)) * C_OUT + n
        tl.store(sums + offsets, total, mask=n < C_OUT)
    if CLEAR:
        before = _list_length(counts, image, tl.maximum(block - 1, 0), n_blocks, group, n_groups, n_positions, LISTED)
        dropped = (before - count) * SIDE * SIDE
        for step in range(tl.program_id(0), tl.cdiv(dropped, BLOCK_M), tl.num_programs(0)):
            number = count * SIDE * SIDE + step * BLOCK_M + tl.arange(0, BLOCK_M)
            valid, y, x, _ = _pixels(
                listed, number, before, image, height, width, columns, n_positions, group, n_groups, SIDE, LISTED
            )
            offsets = (first_row + y * width + x)[:, None] * C_OUT + n[None, :]
            zeros = tl.zeros([BLOCK_M, BLOCK_N], out.dtype.element_ty)
            tl.store(out + offsets, zeros, mask=valid[:, None] & (n < C_OUT)[None, :])


@triton.jit(do_not_specialize=UNSPECIALIZED)
def finish_kernel(value, bias, out, addend, depth_map, sums, height, width, columns, n_positions, block, group,
                  n_groups, C_OUT: tl.constexpr, SIDE: tl.constexpr, RELU: tl.constexpr, GATED: tl.constexpr,
                  ADD: tl.constexpr, SUMS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """What `conv_kernel` does after the conv, at every pixel: `value` (N, H, W, C_OUT) is the conv without its bias.

    The rest: see there. The grid is programs x ceil(C_OUT / BLOCK_N) x N.
    """
    image = tl.program_id(2)
    n_start = tl.program_id(1) * BLOCK_N
    n = n_start + tl.arange(0, BLOCK_N)
    first_row = image.to(tl.int64) * height * width
    total = tl.zeros([BLOCK_N], tl.float32)
    for step in range(tl.program_id(0), tl.cdiv(height * width, BLOCK_M), tl.num_programs(0)):
        pixel = step * BLOCK_M + tl.arange(0, BLOCK_M)
        valid = pixel < height * width
        position = pixel // width // SIDE * columns + pixel % width // SIDE
        gate = valid.to(tl.float32)
        if GATED:
            gate = _gate(depth_map, position, valid, image, n_positions, block, group, n_groups)
        rows = first_row + pixel
        offsets = rows[:, None] * C_OUT + n[None, :]
        result = tl.load(value + offsets, mask=valid[:, None] & (n < C_OUT)[None, :], other=0.0).to(tl.float32)
        result = _store(result, bias, out, addend, rows, valid, gate, n_start, BLOCK_N, C_OUT, RELU, GATED, ADD)
        total += tl.sum(result, axis=0)
    if SUMS:
        offsets = (image * tl.num_programs(0) + tl.program_id(0)) * C_OUT + n
        tl.store(sums + offsets, total, mask=n < C_OUT)


@triton.jit(do_not_specialize=("n_pixels", "n_sums"))
def attention_kernel(sums, squeeze, squeeze_bias, excite, excite_bias, scale, n_pixels, n_sums,
                     C: tl.constexpr, R: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_R: tl.constexpr,
                     BLOCK_SUMS: tl.constexpr):  # fmt: skip
    """Channel attention: scale (N, C) from sums (N, n_sums, C), all float32, always added up in the same order.

    squeeze: (R, C). excite: (C, R). n_pixels: of an image; inactive pixels count as 0. BLOCK_C and BLOCK_R are powers
    of two not below C and R; BLOCK_SUMS sums are added at once. The grid is N.
    """
    image = tl.program_id(0)
    c = tl.arange(0, BLOCK_C)
    r = tl.arange(0, BLOCK_R)
    mean = tl.zeros([BLOCK_C], tl.float32)
    for begin in range(0, n_sums, BLOCK_SUMS):
        entry = begin + tl.arange(0, BLOCK_SUMS)
        offsets = (image * n_sums + entry)[:, None] * C + c[None, :]
        mean += tl.sum(tl.load(sums + offsets, mask=(entry < n_sums)[:, None] & (c < C)[None, :], other=0.0), axis=0)
    mean /= n_pixels
    in_range = (r < R)[:, None] & (c < C)[None, :]
    weights = tl.load(squeeze + r[:, None] * C + c[None, :], mask=in_range, other=0.0)
    squeezed = tl.sum(weights * mean[None, :], axis=1) + tl.load(squeeze_bias + r, mask=r < R, other=0.0)
    squeezed = tl.where(squeezed < 0, 0.0, squeezed)
    weights = tl.load(excite + c[None, :] * R + r[:, None], mask=in_range, other=0.0)
    excited = tl.sum(weights * squeezed[:, None], axis=0) + tl.load(excite_bias + c, mask=c < C, other=0.0)
    tl.store(scale + image * C + c, tl.sigmoid(excited), mask=c < C)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def add_kernel(z, update, scale, listed, counts, height, width, columns, n_positions, block, n_blocks, group, n_groups,
               C: tl.constexpr, SIDE: tl.constexpr, LISTED: tl.constexpr, BLOCK_M: tl.constexpr,
               BLOCK_N: tl.constexpr):  # fmt: skip
    """z += scale * update at the listed positions of a block; z, update: (N, H, W, C), scale: (N, C) float32.

    The rest: see `conv_kernel`. The grid is programs x ceil(C / BLOCK_N) x N.
    """
    image = tl.program_id(2)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_range = n < C
    first_row = image.to(tl.int64) * height * width
    count = _list_length(counts, image, block, n_blocks, group, n_groups, n_positions, LISTED)
    factor = tl.load(scale + image * C + n, mask=in_range, other=0.0)
    for step in range(tl.program_id(0), tl.cdiv(count * SIDE * SIDE, BLOCK_M), tl.num_programs(0)):
        number = step * BLOCK_M + tl.arange(0, BLOCK_M)
        valid, y, x, _ = _pixels(
            listed, number, count, image, height, width, columns, n_positions, group, n_groups, SIDE, LISTED
        )
        offsets = (first_row + y * width + x)[:, None] * C + n[None, :]
        mask = valid[:, None] & in_range[None, :]
        change = tl.load(update + offsets, mask=mask, other=0.0).to(tl.float32) * factor[None, :]
        tl.store(z + offsets, (tl.load(z + offsets, mask=mask, other=0.0) + change).to(z.dtype.element_ty), mask=mask)
