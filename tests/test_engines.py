"""What every engine promises, for every backend and every network that can run here."""

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from adadsr import backends
from adadsr.backends import BACKENDS, to_numpy
from adadsr.errors import BackendError, InputError
from adadsr.geometry import Box
from adadsr.graph.price import body_macs
from adadsr.tensor_ops import OPS
from adadsr.tiling import bands
from engine_samples import (
    ADAPTIVE_CASES,
    AVAILABLE,
    CASES,
    RESOLUTION,
    assert_as_exact_as_float32,
    defined,
    engine_of,
    run,
    whole,
)
from graph_samples import BLOCKS, KINDS, build, depth_map_of, lr_images, tensors

every_case = pytest.mark.parametrize(("name", "backbone", "tile"), CASES)
every_adaptive_case = pytest.mark.parametrize(("name", "backbone", "tile"), ADAPTIVE_CASES)
SMALL_CONVS = 2**20
"""Bytes that torch works in, beyond the footprint, where it unfolds tensors of up to 20480 numbers for a product."""
seeds, sides = st.integers(0, 2**31), st.integers(1, 18)


def maps_of(engine, seed, batch, height, width):
    """Full depth, and maps with inactive, shallow and deep positions."""
    random = depth_map_of(engine.network, seed, batch, height, width)
    return [None, random, np.zeros_like(random), np.full_like(random, BLOCKS)]


def assert_equals_the_definition(engine, lr, depth_map):
    exact, plain = (defined(engine.network, lr, depth_map, dtype) for dtype in (torch.float64, torch.float32))
    assert_as_exact_as_float32(run(engine, lr, depth_map), plain, exact, engine)


@every_case
@settings(max_examples=6)
@given(seed=seeds, batch=st.integers(1, 3), height=sides, width=sides)
@example(seed=0, batch=1, height=1, width=1)
def test_an_engine_equals_the_definition(name, backbone, tile, seed, batch, height, width):
    engine, lr = engine_of(name, backbone, tile), lr_images(seed, batch, height, width)
    for depth_map in maps_of(engine, seed, batch, height, width):
        assert_equals_the_definition(engine, lr, depth_map)


@pytest.mark.skipif(BACKENDS["triton"].missing("cpu") is not None, reason="triton is not installed, or runs on a GPU")
def test_an_interpreted_engine_equals_the_definition_and_counts_its_price():
    """As an engine; the laws of its body for all kinds of networks are in test_gpu_body.py."""
    engine, lr = engine_of("triton", "edsr", 4), lr_images(0, 2, 9, 7)
    depth_map = depth_map_of(engine.network, 0, 2, 9, 7)
    assert_equals_the_definition(engine, lr, depth_map)
    z0 = engine.features(lr)
    assert engine.body(z0, depth_map).macs == body_macs(engine.network.body, 9, 7, depth_map)
    assert engine.backend == "triton"
    assert engine.footprint(9, 7) > engine.footprint(8, 4)


@every_adaptive_case
@settings(max_examples=6)
@given(seed=seeds, batch=st.integers(1, 3), height=sides, width=sides, depth=st.floats(0, BLOCKS))
def test_scores_equal_the_definition(name, backbone, tile, seed, batch, height, width, depth):
    engine, lr = engine_of(name, backbone, tile), lr_images(seed, batch, height, width)
    scores = engine.scores(engine.features(lr), depth)
    assert scores.shape == (batch, engine.network.adapter.n_scores, *engine.network.map_shape(height, width)[1:])
    assert scores.dtype == np.float32

    def define(dtype):
        images = torch.from_numpy(lr).permute(0, 3, 1, 2).to(dtype)
        network = tensors(engine.network, dtype)
        return network.adapter.run(OPS, network.head.run(OPS, images), torch.full((batch,), depth, dtype=dtype)).numpy()

    assert_as_exact_as_float32(scores, define(torch.float32), define(torch.float64), engine)


@every_case
@settings(max_examples=6)
@given(seed=seeds, batch=st.integers(1, 2), height=sides, width=sides)
def test_what_a_body_counts_is_its_price(name, backbone, tile, seed, batch, height, width):
    engine = engine_of(name, backbone, tile)
    z0 = engine.features(lr_images(seed, batch, height, width))
    assert z0.macs == 0
    for depth_map in maps_of(engine, seed, batch, height, width):
        priced = None if name == "dense" else depth_map  # it runs every block, whatever the map
        assert engine.body(z0, depth_map).macs == body_macs(engine.network.body, height, width, priced, batch)


@every_case
def test_a_body_leaves_its_input_alone_and_a_second_run_gives_the_same_bits(name, backbone, tile):
    engine, lr = engine_of(name, backbone, tile), lr_images(3, 2, 13, 11)
    z0 = engine.features(lr)
    before = np.array(to_numpy(engine.tail(z0, whole(lr))))
    depth_map = maps_of(engine, 3, 2, 13, 11)[-1]
    first, second = (to_numpy(engine.tail(engine.body(z0, depth_map), whole(lr))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(to_numpy(engine.tail(z0, whole(lr))), before)


@every_case
@settings(max_examples=6)
@given(seed=seeds, height=sides, width=sides, data=st.data())
def test_a_part_of_the_tail_is_that_part_of_the_whole(name, backbone, tile, seed, height, width, data):
    engine, lr = engine_of(name, backbone, tile), lr_images(seed, 1, height, width)
    z = engine.features(lr)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width)))
    rows, columns = box.scaled(engine.network.scale).slices
    part, all_of_it = to_numpy(engine.tail(z, box)), to_numpy(engine.tail(z, whole(lr)))
    # To the last bit where the conv is our own; torch chooses another algorithm for another size.
    rounding = 0 if name == "native" else RESOLUTION * np.abs(all_of_it).max()
    np.testing.assert_allclose(part, all_of_it[:, rows, columns], rtol=0, atol=rounding)


@every_case
def test_a_result_belongs_to_the_caller(name, backbone, tile):
    """It may be changed, and no later run changes it."""
    engine, images = engine_of(name, backbone, tile), [lr_images(seed, 1, 12, 14) for seed in range(3)]
    features = [engine.body(engine.features(lr)) for lr in images]
    results = [engine.tail(z, whole(lr)) for z, lr in zip(features, images, strict=True)]
    for sr, z, lr in zip(results, features, images, strict=True):
        expected = run(engine, lr, None)
        np.testing.assert_array_equal(to_numpy(sr), expected)
        sr[:] = 0
        np.testing.assert_array_equal(to_numpy(engine.tail(z, whole(lr))), expected)


@every_adaptive_case
def test_maps_of_any_depth_follow_each_other(name, backbone, tile):
    """Nothing of a run is left in the memory that the next one uses, be it of another size or not a number."""
    fresh = backends.prepare(build(backbone, tile), name, threads=2)
    used, lr = engine_of(name, backbone, tile), lr_images(1, 1, 12, 14)
    broken = np.full_like(lr, np.nan)
    for depth_map in maps_of(used, 4, 1, 12, 14):
        run(used, broken, None)
        run(used, lr[:, :7], None)
        np.testing.assert_array_equal(run(used, lr, depth_map), run(fresh, lr, depth_map))


@every_case
def test_images_are_read_where_they_lie(name, backbone, tile):
    """A window of an image has the strides of the whole; a tensor is as good as an array; so is float64."""
    engine, image = engine_of(name, backbone, tile), lr_images(2, 1, 30, 40)
    window = image[:, 5:20, 8:27]
    expected = run(engine, np.ascontiguousarray(window), None)
    planes_first = np.ascontiguousarray(window.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for lr in (window, planes_first, torch.from_numpy(window), window.astype(np.float64)):
        np.testing.assert_array_equal(run(engine, lr, None), expected)


@pytest.mark.parametrize("name", AVAILABLE)
def test_images_that_may_not_be_written_are_read_without_a_warning(name, recwarn):
    engine, lr = engine_of(name, *KINDS[0]), np.broadcast_to(lr_images(2, 1, 8, 9)[..., :1], (1, 8, 9, 3))
    torch.set_warn_always(True)
    try:
        engine.features(lr)
    finally:
        torch.set_warn_always(False)
    assert [str(each.message) for each in recwarn] == []


def allocated_by_torch(run):
    """The most bytes that torch holds at once while something runs, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize(("name", "backbone", "tile"), [case for case in CASES if case[0] in ("torch", "dense")])
@pytest.mark.parametrize("size", [(1, 80, 70), (2, 33, 60), (1, 12, 500)])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_run_in_torch_stays_within_its_footprint(name, backbone, tile, scale, size):
    """test_native_engine.py has the same for the native engine, to the byte."""
    engine, lr = engine_of(name, backbone, tile, scale=scale), lr_images(0, *size)
    depth_map = maps_of(engine, 0, *size)[:2][-1]

    def everything():
        z0 = engine.features(lr)
        if engine.network.adapter is not None:
            engine.scores(z0, 1.0)
        z = engine.body(z0, depth_map)
        for band in bands(whole(lr), backends.band_rows(lr.shape[2])):
            engine.tail(z, band)

    everything()
    allocated, footprint = allocated_by_torch(everything), engine.footprint(*size[1:], size[0])
    assert allocated <= footprint + SMALL_CONVS
    assert footprint <= 3 * allocated


class NoDoubles(TorchDispatchMode):
    """Refuses float64, which some devices do not have."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, (tuple, list)) else (result,):
            assert getattr(each, "dtype", None) != torch.float64, f"{function} makes float64"
        return result


@every_case
@pytest.mark.parametrize("precision", backends.PRECISIONS)
def test_nothing_is_computed_in_float64(name, backbone, tile, precision):
    if precision not in BACKENDS[name].precisions:
        return
    engine, lr = engine_of(name, backbone, tile, precision), lr_images(10, 1, 7, 6)
    with NoDoubles():
        for depth_map in maps_of(engine, 10, 1, 7, 6):
            run(engine, lr, depth_map)
        if engine.network.adapter is not None:
            engine.scores(engine.features(lr), 1.5)


@every_case
def test_progress_rises_within_zero_and_one(name, backbone, tile):
    engine, shares = engine_of(name, backbone, tile), []
    engine.body(engine.features(lr_images(0, 1, 20, 20)), None, shares.append)
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


@every_adaptive_case
def test_threads_share_an_engine(name, backbone, tile):
    engine = engine_of(name, backbone, tile)
    images = [lr_images(seed, 1, 20 + seed % 2, 24) for seed in range(6)]
    maps = [depth_map_of(engine.network, seed, 1, 20 + seed % 2, 24) for seed in range(6)]
    alone = [run(engine, lr, depth_map) for lr, depth_map in zip(images, maps, strict=True)]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            for one, other in zip(
                alone, pool.map(lambda lr, depths: run(engine, lr, depths), images, maps), strict=True
            ):
                np.testing.assert_array_equal(one, other)


@every_case
def test_bad_images_and_depth_maps_are_refused(name, backbone, tile):
    engine, lr = engine_of(name, backbone, tile), lr_images(0, 2, 9, 9)
    for bad in (lr[0], lr[..., :2], lr[:, :0], lr.astype(np.uint8), lr.transpose(0, 3, 1, 2)):
        with pytest.raises(InputError, match=r"lr has shape .*; pass floating point, \(N, H, W, 3\)"):
            engine.features(bad)
    z0 = engine.features(lr)
    good = np.ones((2, *engine.network.map_shape(9, 9)), np.float32)
    for wrong in (good.astype(np.float64), good[..., :1], good[0], np.concatenate([good, good], axis=1)):
        with pytest.raises(InputError, match=r"depth_map has shape .*; pass float32, "):
            engine.body(z0, wrong)
    good[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN or inf"):
        engine.body(z0, good)


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_network_without_an_adapter_has_no_scores(name):
    network = build("edsr")._replace(adapter=None, kind="edsr")
    engine = backends.prepare(network, name)
    with pytest.raises(InputError, match="edsr has no adapter"):
        engine.scores(engine.features(lr_images(0, 1, 5, 5)), 1.0)


@pytest.mark.parametrize("name", AVAILABLE)
def test_every_backend_runs_the_published_networks(name):
    assert {(backbone, tile) for backend, backbone, tile in CASES if backend == name} >= set(KINDS)
    engine = engine_of(name, *KINDS[0])
    assert engine.backend == name
    assert engine.variant
    assert engine.weight_bytes > 4 * 9 * 8 * 8 * 2 * BLOCKS
    assert engine.free_bytes() is None
    assert not engine.half


def test_by_default_the_first_of_the_table_that_can_runs():
    assert backends.prepare(build("edsr")).backend == AVAILABLE[0]
    assert backends.prepare(build("esrgan")).backend == AVAILABLE[0]
    assert backends.prepare(build("edsr"), precision="float16").backend == "torch"
    names = list(BACKENDS)
    assert names.index("torch") < names.index("triton")  # nobody gets what is experimental without asking
    assert backends.auto_device() in ("cpu", "cuda")


def has_amx() -> bool:
    from adadsr.backends.native.workspaces import isas_by_precision

    return "bfloat16" in isas_by_precision()


@pytest.mark.parametrize("name", AVAILABLE)
@pytest.mark.parametrize("precision", backends.PRECISIONS)
def test_a_backend_runs_in_its_precisions_and_no_other(name, precision):
    if (name, precision) == ("native", "bfloat16") and not has_amx():
        with pytest.raises(BackendError, match="the native engine has bfloat16 on AMX only, and it runs on"):
            engine_of(name, *KINDS[1], precision)
    elif precision in BACKENDS[name].precisions:
        engine = engine_of(name, *KINDS[1], precision)
        assert engine.half == (precision != "float32" and name != "native")  # whose features are float32
        assert to_numpy(run(engine, lr_images(0, 1, 6, 5), None)).shape == (1, 12, 10, 3)
    else:
        with pytest.raises(BackendError, match=f"backend '{name}' does not support {precision}; use torch"):
            engine_of(name, *KINDS[1], precision)


@pytest.mark.skipif("native" not in AVAILABLE, reason="the native engine was not built")
def test_without_amx_torch_runs_bfloat16(monkeypatch):
    from adadsr.backends.native import _native

    monkeypatch.setattr(_native, "bf16_isa", lambda: None)
    assert backends.prepare(build("edsr"), precision="bfloat16").backend == "torch"
    assert backends.prepare(build("edsr"), precision="float32").backend == "native"


@pytest.mark.skipif("native" not in AVAILABLE, reason="the native engine was not built")
def test_who_asks_for_an_instruction_set_gets_it_or_an_error(monkeypatch):
    network = build("edsr")
    monkeypatch.setenv("ADADSR_ISA", "plain")
    assert backends.prepare(network).variant.startswith("plain")
    for precision, reason in (("bfloat16", "it runs on plain here"), ("float16", "does not support float16")):
        with pytest.raises(BackendError, match=reason):
            backends.prepare(network, precision=precision)
        assert backends.prepare(network, "torch", precision=precision).backend == "torch"
    monkeypatch.setenv("ADADSR_ISA", "axv2")
    with pytest.raises(InputError, match=r"ADADSR_ISA=axv2 is not available on this machine; .* plain"):
        backends.prepare(network)


def test_what_cannot_run_is_refused_with_what_can(monkeypatch):
    network = build("edsr")
    with pytest.raises(BackendError, match="backend 'cuda' is not one of native, torch, triton, dense"):
        backends.prepare(network, "cuda")
    with pytest.raises(InputError, match="precision='half' is not one of float32, float16, bfloat16"):
        backends.prepare(network, precision="half")
    with pytest.raises(InputError, match="device 'toaster' is not available"):
        backends.prepare(network, device="toaster")
    monkeypatch.setitem(BACKENDS, "torch", replace_missing("torch", "no reason"))
    with pytest.raises(BackendError, match="backend 'torch' cannot run on cpu: no reason"):
        backends.prepare(network, "torch")


def replace_missing(name, reason):
    """The row of a backend that cannot run anywhere."""
    return BACKENDS[name]._replace(missing=lambda device: reason)


def test_where_nothing_can_run_every_reason_is_given(monkeypatch):
    for name in BACKENDS:
        monkeypatch.setitem(BACKENDS, name, replace_missing(name, f"not {name}"))
    with pytest.raises(BackendError) as error:
        backends.prepare(build("edsr"))
    assert all(f"not {name}" in str(error.value) for name in BACKENDS)
