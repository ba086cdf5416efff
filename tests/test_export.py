"""Exported files in ONNX Runtime and OpenVINO against the package. `.ci/run` installs both."""

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adadsr import Upscaler
from adadsr.errors import BudgetError, ExportError, InputError
from adadsr.networks import Model, NetworkConfig, tensor_shapes
from graph_samples import config_of, random_values
from upscaler_samples import DEEP, photo
from upscaler_samples import model_of as initial_model_of

REASON = "needs the extra `export`, which .ci/run installs"
onnx = pytest.importorskip("onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)
openvino = pytest.importorskip("openvino", reason=REASON)

from adadsr import export  # noqa: E402  (needs onnx)
from adadsr.export import verifying  # noqa: E402
from adadsr.export.calibration import softplus  # noqa: E402
from adadsr.export.network import limits_of  # noqa: E402
from adadsr.export.network import model_of as model_of_graph  # noqa: E402
from adadsr.export.nodes import Nodes, Port  # noqa: E402

DEEP_PIXELS = replace(DEEP, depth_tile=1)
PIXELS = [config_of("edsr"), config_of("rcan"), config_of("edsr", scale=3)]
TILES = [config_of("edsr", 4), config_of("rcan", 4), config_of("edsr", 4, scale=3), config_of("edsr", 4, scale=4)]
DENSE = [config_of("esrgan"), config_of("compact"), NetworkConfig("rcan", 4, 8, 2, 2)]
SMALL = ((1, 1), (5, 2), (33, 18), (70, 52))
"""(width, height) that cover one tile, part of one, and several chunks of tiles."""


def model_of(config: NetworkConfig, seed: int = 0) -> Model:
    draw = random_values(seed)
    return Model(config, {name: draw(name, shape) for name, shape in tensor_shapes(config).items()})


def content_of(model: Model, form: export.Form | None = None) -> bytes:
    return export.to_onnx(model.weights(), form or export.Form(), {}).SerializeToString()


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    monkeypatch.setattr(verifying, "SIZES", SMALL)


@pytest.fixture(scope="module")
def deep():
    """A network whose fixed parts leave room for a budget: the model, `Upscaler`, and the file in ONNX Runtime."""
    model = model_of(DEEP)
    return model, Upscaler(model), verifying.load(content_of(model), "onnxruntime")


def run(deep, image, budget, max_loss=0.0):
    return deep[2](verifying.inputs_of(image, export.Form(), verifying.Limits(budget, max_loss)))


@pytest.mark.parametrize("config", TILES, ids=lambda config: f"{config.kind}-x{config.scale}")
@pytest.mark.parametrize("image", ["uint8", "float32"])
def test_an_adaptive_file_is_the_package(config, image):
    model, form = model_of(config), export.Form(image)
    runtimes = export.RUNTIMES if config.scale == 2 else ["onnxruntime"]
    for difference in export.verify(content_of(model, form), model, form, list(runtimes)):
        assert difference.pixel < verifying.TOLERANCE
        assert difference.runs == len(SMALL) * (len(verifying.BUDGETS) + 2 * len(verifying.LOSSES))


@pytest.mark.parametrize("config", PIXELS, ids=lambda config: f"{config.kind}-x{config.scale}")
def test_a_file_with_one_depth_per_pixel_is_the_package(config):
    model, form = model_of(config), export.Form("float32")
    runtimes = export.RUNTIMES if config.scale == 2 else ["onnxruntime"]
    for difference in export.verify(content_of(model, form), model, form, list(runtimes)):
        assert difference.pixel < verifying.TOLERANCE
        assert difference.runs == len(SMALL) * len(verifying.BUDGETS)


def test_a_deep_file_with_one_depth_per_pixel_is_the_package():
    model, form = initial_model_of(DEEP_PIXELS), export.Form()
    export.verify(content_of(model, form), model, form, ["onnxruntime"])


@pytest.mark.parametrize("config", DENSE, ids=lambda config: config.kind)
def test_a_dense_file_is_the_package(config):
    model, form = model_of(config), export.Form("float32")
    export.verify(content_of(model, form), model, form, list(export.RUNTIMES))


def test_an_adaptive_network_exports_densely():
    model, form = model_of(TILES[0]), export.Form(dense=True)
    content = content_of(model, form)
    assert [each.name for each in onnx.load_from_string(content).graph.input] == ["image"]
    export.verify(content, model, form, ["onnxruntime"])


@pytest.mark.parametrize("image", ["uint8", "float32"])
def test_a_fixed_size_has_no_varying_shapes(image):
    model, form = model_of(TILES[0]), export.Form(image, dense=True, size=(20, 12))
    content = content_of(model, form)
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    assert {node.op_type for node in graph.node}.isdisjoint({"Gather", "Loop", "If", "Shape", "Range"})
    for value in [*graph.input, *graph.output, *graph.value_info]:
        assert all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    export.verify(content, model, form, list(export.RUNTIMES))


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (3, 2)])
def test_a_small_fixed_size_is_reflected_as_often_as_necessary(size):
    model, form = model_of(TILES[0]), export.Form("float32", dense=True, size=size)
    export.verify(content_of(model, form), model, form, ["onnxruntime"])


@settings(max_examples=25)
@given(budget=st.floats(0.05, 1.2), height=st.integers(1, 40), width=st.integers(1, 40))
@example(budget=0.53515625, height=30, width=30)  # seven tiles gain the same by blocks 9 and 10, those of a neighbour
def test_the_budget_is_that_of_the_package(deep, budget, height, width):
    image = photo(height, width)
    outputs = run(deep, image, budget)
    prepared = deep[1].prepare(image)
    try:
        plan = prepared.plan(budget=min(float(np.float32(budget)), 1.0))
    except BudgetError as error:
        plan, least = None, error.least
    if plan is None:
        assert not outputs["depth_map"].any()
        assert least - 0.001 <= outputs["share"][0] <= least
        return
    if plan.depth_map is None or (outputs["depth_map"][0] == plan.depth_map).all():
        assert outputs["share"][0] == pytest.approx(plan.budget, abs=1e-6)
        return
    # Rounding decides how far the tiles go whose blocks gain just as much as it takes to run.
    shallow, deep_map = maps_around(prepared, plan.budget)
    assert (shallow <= outputs["depth_map"][0]).all()
    assert (outputs["depth_map"][0] <= deep_map).all()
    assert outputs["share"][0] == pytest.approx(plan.budget, abs=0.01)


def maps_around(prepared, budget):
    """The maps of the least gains just above and just below the one of a budget."""

    def at(shift):
        return prepared.plan(least_gain=math.exp(-shift))

    low, high = -50.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).budget <= budget else (low, middle)
    return at(low - 1e-4).depth_map, at(high + 1e-4).depth_map


@settings(max_examples=15)
@given(budgets=st.tuples(st.floats(0.0, 1.1), st.floats(0.0, 1.1)))
def test_a_larger_budget_never_goes_less_deep(deep, budgets):
    shallow, deeper = (run(deep, photo(30, 22), budget) for budget in sorted(budgets))
    assert (shallow["depth_map"] <= deeper["depth_map"]).all()
    assert shallow["share"] <= deeper["share"]


@settings(max_examples=15)
@given(losses=st.tuples(st.floats(0.001, 3.0), st.floats(0.001, 3.0)), budget=st.sampled_from([0.5, 0.8, 1.0]))
def test_a_larger_loss_never_goes_deeper(deep, losses, budget):
    strict, loose = (run(deep, photo(30, 22), budget, loss) for loss in sorted(losses))
    assert (strict["depth_map"] >= loose["depth_map"]).all()
    assert strict["predicted_loss"] <= loose["predicted_loss"]
    if budget == 1:
        assert loose["predicted_loss"][0] <= max(losses) * (1 + 1e-5)
    else:
        assert strict["share"] <= budget


def test_the_loss_is_that_of_the_package(deep):
    plan = deep[1].prepare(photo(30, 22)).plan(max_loss=0.3)
    outputs = run(deep, photo(30, 22), 1.0, 0.3)
    assert (outputs["depth_map"][0] == plan.depth_map).mean() > 0.95
    assert outputs["predicted_loss"][0] == pytest.approx(plan.predicted_loss, abs=0.01)


@pytest.mark.parametrize("max_loss", [0.0, -1.0, float("nan")])
def test_a_loss_that_is_no_limit_spends_the_budget(deep, max_loss):
    assert (run(deep, photo(16, 16), 0.7, max_loss)["depth_map"] == run(deep, photo(16, 16), 0.7)["depth_map"]).all()
    assert run(deep, photo(16, 16), 1.0, max_loss)["share"][0] == 1


@pytest.mark.parametrize("budget", [-1.0, 0.0, 0.01, float("nan")])
def test_a_budget_that_cannot_be_met_runs_no_block(deep, budget):
    outputs, whole = run(deep, photo(16, 16), budget), run(deep, photo(16, 16), 1)
    assert not outputs["depth_map"].any()
    assert 0 < outputs["share"][0] < whole["share"][0]


def test_a_budget_above_one_is_the_whole_network(deep):
    outputs = run(deep, photo(16, 16), 7)
    assert (outputs["depth_map"] == DEEP.n_resblocks).all()
    assert outputs["share"][0] == 1


@pytest.mark.parametrize("value", [0, 90, 255])
def test_equal_scores_are_split_to_meet_the_budget(deep, value):
    image = np.full((40, 40, 3), value, np.uint8)
    expected = deep[1].prepare(image).plan(budget=0.6)
    assert run(deep, image, 0.6)["share"][0] == pytest.approx(expected.budget, abs=0.003)


@pytest.mark.parametrize("runtime", export.RUNTIMES)
def test_softplus_is_exact_where_it_is_tiny(runtime):
    nodes = Nodes()
    x = nodes.input("x", np.float32)
    ports = [Port("x", x, ("n",))], [Port("y", softplus(x), ("n",))]
    content = model_of_graph(nodes, "softplus", *ports, {}).SerializeToString()
    values = np.linspace(-80, 80, 1001, dtype=np.float32)
    found = verifying.load(content, runtime)({"x": values})["y"]
    np.testing.assert_allclose(found, np.logaddexp(values.astype(np.float64), 0), rtol=2e-6)


def products(model: Model, budget: float) -> int:
    """How many products a run makes."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    session = onnxruntime.InferenceSession(content_of(model), options, providers=["CPUExecutionProvider"])
    limits = verifying.Limits(budget, 0.0 if model.config.depth_tile > 1 else None)
    session.run(None, dict(verifying.inputs_of(photo(120, 120), export.Form(), limits)))
    with open(session.end_profiling()) as file:
        events = json.load(file)
    return Counter(event.get("args", {}).get("op_name") for event in events)["MatMul"]


def test_a_smaller_budget_computes_less(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = [products(model_of(DEEP), budget) for budget in (0.0, 0.5, 1.0)]
    blocks, chunks = DEEP.n_resblocks, 32 * 32 // 128 + 1  # the last one has no tile, and stands for the border
    assert counts[2] == blocks * 6 * chunks
    assert counts[0] == blocks * 6  # one chunk without an active tile
    assert counts[0] < counts[1] < 0.75 * counts[2]


def test_a_smaller_budget_computes_less_with_one_depth_per_pixel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = [products(model_of(DEEP_PIXELS), budget) for budget in (0.0, 0.5, 0.9, 1.0)]
    blocks, chunks = DEEP_PIXELS.n_resblocks, 128 * 128 // 512 + 1
    assert counts[0] == 2 * blocks
    assert counts[0] < counts[1] < counts[2] < counts[3]
    assert counts[3] == 2 * blocks * chunks


def test_half_stores_what_the_rounded_network_computes(tmp_path):
    from adadsr import checkpoints

    checkpoints.save(model_of(TILES[0]), tmp_path / "tiny.safetensors")
    whole = export.export(tmp_path / "tiny.safetensors", tmp_path / "whole.onnx")
    half = export.export(
        tmp_path / "tiny.safetensors", tmp_path / "half.onnx", export.Form(half=True), runtimes=["onnxruntime"]
    )
    assert half.bytes < whole.bytes


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    from adadsr import checkpoints

    checkpoints.save(model_of(TILES[0]), tmp_path / "tiny.safetensors")
    other = export.to_onnx(model_of(TILES[0], seed=1).weights(), export.Form(), {})
    monkeypatch.setattr("adadsr.export.exporting.to_onnx", lambda *_: other)
    with pytest.raises(ExportError, match=r"onnxruntime at 1x1, budget 0\.3: .*the file is not kept"):
        export.export(tmp_path / "tiny.safetensors", tmp_path / "out.onnx", runtimes=["onnxruntime"])
    assert not (tmp_path / "out.onnx").exists()


def test_a_corrupt_file_is_refused():
    with pytest.raises(ExportError, match="onnxruntime cannot load the file"):
        verifying.load(b"no model", "onnxruntime")


def test_a_network_with_exits_has_no_limit_on_a_loss():
    assert limits_of(model_of(TILES[0]).weights(), export.Form()) == ("budget", "max_loss")
    assert limits_of(model_of(config_of("esrgan", 4)).weights(), export.Form()) == ("budget",)


def test_blocks_that_cannot_be_sparse_are_refused():
    with pytest.raises(ExportError, match="ResidualDenseBlock cannot be exported with a depth map"):
        content_of(model_of(config_of("esrgan", 4)))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"image": "int8"}, "image='int8' is not one of uint8, float32"),
        ({"size": (8, 8)}, "size without dense"),
        ({"dense": True, "size": (0, 8)}, "must be at least 1x1"),
    ],
)
def test_forms_check_themselves(form, message):
    with pytest.raises(InputError, match=message):
        export.Form(**form)


def photos(count: int, side: int = 64) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of LR and HR for a network of scale 2."""
    return [(photo(side, side, seed)[::2, ::2].copy(), photo(side, side, seed)) for seed in range(count)]


def bundled(tmp_path, int8, **form):
    return export.export("edsr-baseline-x2", tmp_path / "out.onnx", export.Form(dense=True, **form), int8=int8)


@pytest.mark.parametrize("form", [{}, {"image": "float32", "size": (32, 32)}])
def test_int8_says_what_it_loses(tmp_path, form):
    exported = bundled(tmp_path, export.Int8(photos(3), most_loss=5.0), **form)
    kinds = Counter(node.op_type for node in onnx.load(exported.path).graph.node)
    assert kinds["QuantizeLinear"] > 30
    assert exported.bytes < 2e6
    assert exported.loss is not None
    assert abs(exported.loss) < 5
    whole = verifying.load(exported.path.read_bytes(), "onnxruntime")(
        verifying.inputs_of(photos(1)[0][0], export.Form(**{"image": "uint8", **form, "dense": True}), None)
    )
    assert whole["upscaled"].max() > 0


def test_int8_that_loses_too_much_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"int8 loses .* dB .* allow it with --int8-loss"):
        bundled(tmp_path, export.Int8(photos(2), most_loss=-5.0))
    assert not (tmp_path / "out.onnx").exists()


def test_int8_needs_photos_that_are_large_enough(tmp_path):
    with pytest.raises(InputError, match="at least two"):
        export.Int8(photos(1))
    with pytest.raises(ExportError, match="a file for 100x100 needs larger ones"):
        bundled(tmp_path, export.Int8(photos(2)), size=(100, 100))


@pytest.mark.parametrize("form", [{}, {"dense": True, "half": True}])
def test_int8_needs_a_dense_file(tmp_path, form):
    with pytest.raises(InputError, match="int8 needs a dense file"):
        export.export("edsr-baseline-x2", tmp_path / "out.onnx", export.Form(**form), int8=export.Int8(photos(2)))
