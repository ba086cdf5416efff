"""The HTTP API: what it answers is what the library does, and refusals say what the command says."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from adadsr import checkpoints, images
from adadsr.checkpoints import bundled_models
from adadsr.errors import InputError
from adadsr.serving import Settings, create_app
from adadsr.serving.guard import Guard
from adadsr.serving.problems import Problem
from adadsr.upscaler import Execution, Upscaler, timing
from adadsr.upscaler.pacing import Pacer
from adadsr.upscaler.timing import TimeModel
from serving_samples import MODEL, Running, form, photo, running
from upscaler_samples import CONFIGS, model_of

BUNDLED = Path(images.__file__).parents[1] / "bundled"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def service():
    with running(max_pixels=10_000, max_upload=2**20) as found:
        yield found


@pytest.fixture(scope="module")
def library():
    return Upscaler.from_pretrained(MODEL, Execution(threads=1))


def pixels(content: bytes) -> np.ndarray:
    return images.read_image(content).pixels


@pytest.mark.parametrize("budget", [0.4, 1.0])
def test_the_result_is_that_of_the_library(service: Running, library: Upscaler, budget: float):
    answer = service.post(f"/v1/upscale?budget={budget}", photo())
    expected = library(photo(), budget=budget)
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(pixels(answer.body), expected.image)
    assert float(answer.headers["adadsr-served-budget"]) == pytest.approx(expected.report.achieved_budget, abs=1e-4)
    assert float(answer.headers["adadsr-mean-depth"]) == pytest.approx(expected.report.mean_depth, abs=1e-3)
    assert answer.headers["adadsr-model"] == MODEL
    assert answer.headers["adadsr-backend"] == "native"
    assert float(answer.headers["adadsr-milliseconds"]) > 0


def test_a_form_is_as_good_as_a_raw_body_and_names_the_result(service: Running):
    body, kind = form(photo(), "Zoë.png")
    answer = service.post("/v1/upscale?budget=0.4", body, Content_Type=kind)
    assert answer.body == service.post("/v1/upscale?budget=0.4", photo()).body
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''Zo%C3%AB_2x.png"


@pytest.mark.parametrize(
    ("query", "size"), [("scale=3", (72, 96)), ("scale=2.5", (60, 80)), ("width=50", (38, 50)), ("scale=8", (192, 256))]
)
def test_sizes(service: Running, query: str, size: tuple[int, int]):
    answer = service.post(f"/v1/upscale?budget=0.8&{query}", photo())
    assert answer.status == 200, answer.body
    assert pixels(answer.body).shape[:2] == size


@pytest.mark.parametrize(
    ("given", "format", "got"), [("jpg", "", "jpeg"), ("png", "&format=webp", "webp"), ("tif", "", "tiff")]
)
def test_the_format_is_that_of_the_input_or_as_asked(service: Running, given: str, format: str, got: str):
    answer = service.post(f"/v1/upscale?budget=0.5{format}", photo(format=given))
    assert answer.headers["content-type"] == f"image/{got}"


def test_transparency_needs_a_background_for_jpeg(service: Running):
    clear = photo(channels=4)
    refused = service.post("/v1/upscale?format=jpg", clear)
    assert (refused.status, "cannot hold transparency" in refused.detail) == (422, True)
    assert service.post("/v1/upscale?format=jpg&background=white", clear).status == 200


def test_a_plan_says_what_a_run_does(service: Running, library: Upscaler):
    answer = service.post("/v1/plan?budget=0.5&depth_map=true", photo()).json()
    plan = library.prepare(photo()).plan(budget=0.5)
    assert answer["budget"] == pytest.approx(plan.budget, abs=1e-6)
    assert answer["gmacs"] == pytest.approx(plan.cost.total / 1e9, abs=1e-6)
    assert (answer["input_size"], answer["output_size"], answer["blocks"]) == ([32, 24], [64, 48], 16)
    drawn = np.frombuffer(base64.b64decode(answer["depth_map"]["data"]), np.uint8)
    assert plan.depth_map is not None
    np.testing.assert_array_equal(drawn, np.rint(plan.depth_map.clip(0, 16) * (255 / 16)).astype(np.uint8).ravel())
    assert answer["depth_map"]["width"] * answer["depth_map"]["height"] == drawn.size


def test_a_depth_map_is_a_picture(service: Running):
    answer = service.post("/v1/depth-map?budget=0.5", photo())
    assert answer.headers["content-type"] == "image/png"
    assert pixels(answer.body).shape[2] == 3


REFUSED = [
    ("budget=2", "budget=2 is outside (0, 1]; 1 is the full network", 422),
    ("budget=0.5&depth=3", "depth=3 and budget=0.5: pass only one of them", 422),
    ("depth=99", "depth=99 is outside 0..16, the blocks of this network", 422),
    ("budget=0.01", "use at least", 422),
    ("scale=2&width=30", "pass one size, or a width with a height", 422),
    ("scale=100", "scale=100 is outside 1..64", 422),
    ("width=8", "adadsr only enlarges", 422),
    ("format=bmp", "bmp", 422),
    ("format=jpg&quality=300", "quality=300 must be from 1", 422),
    ("model=/etc/passwd", "not offered here; choose from", 404),
    ("model=edsr-baseline&budget=0.5", "adaptive", 422),
    ("image=nonsense", "both are given", 422),
    ("bugdet=0.5", "bugdet", 422),
    ("budget=nan", "budget", 422),
    ("least_budget=0", "least_budget=0 is outside (0, 1]", 422),
    ("least_budget=-5", "least_budget=-5 is outside (0, 1]", 422),
    ("least_budget=1.5", "least_budget=1.5 is outside (0, 1]", 422),
    ("background=mauvish", "mauvish", 422),
    ("seconds=1", "run adadsr backends --measure once", 422),
    ("seconds=1&budget=0.5", "budget=0.5 and seconds=1: pass only one of", 422),
]


@pytest.mark.parametrize(("query", "sentence", "status"), REFUSED, ids=[each[0] for each in REFUSED])
def test_refusals_have_the_sentences_of_the_command(service: Running, query: str, sentence: str, status: int):
    answer = service.post(f"/v1/upscale?{query}", photo())
    assert sentence in answer.detail
    assert answer.status == status


def test_a_time_is_met_by_all_cores(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """A small picture runs on one core as a rule, but the machine was measured with all."""
    monkeypatch.setenv("ADADSR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Pacer, "__call__", lambda self, begun: None)  # as if the machine were as fast as expected
    upscaler = Upscaler.from_pretrained(MODEL, Execution(threads=2))
    timing.store(
        upscaler.prepare(np.zeros((8, 8, 3), np.uint8)).outlook.steps[0], TimeModel(0.01, 1e-6, 1e-11, 1e-11, 2e-7)
    )
    with running(threads=2) as service:
        answers = [service.post(f"/v1/upscale?seconds={seconds}", photo(48, 64)) for seconds in (0.03, 0.04, 9)]
        budgets = [float(answer.headers["adadsr-served-budget"]) for answer in answers]
        assert budgets[0] < budgets[1] < budgets[2] == 1
        report = json.loads(answers[0].headers["adadsr-report"])
        assert (report["requested_seconds"], report["requested_budget"]) == (0.03, None)
        plan = service.post("/v1/plan?seconds=0.03", photo(48, 64)).json()
        assert plan["budget"] == pytest.approx(budgets[0], abs=1e-4)
        assert service.post("/v1/plan?seconds=0.001", photo(48, 64)).json()["type"].endswith("budget-too-small")


def test_a_budget_that_is_too_small_says_which_is_enough(service: Running):
    least = service.post("/v1/upscale?budget=0.01", photo()).json()["least_budget"]
    assert service.post(f"/v1/upscale?budget={least}", photo()).status == 200


def test_an_image_is_named_as_its_sender_named_it(service: Running):
    body, kind = form(b"not an image at all", "holiday.png")
    assert service.post("/v1/plan", body, Content_Type=kind).detail.startswith("holiday.png: the content is not PNG")
    assert "the field" not in service.post("/v1/plan", b"x").detail
    body, kind = form(photo(), field="file")
    assert "-F image=@photo.jpg" in service.post("/v1/plan", body, Content_Type=kind).detail


def test_declared_pixels_are_checked_before_decoding(service: Running):
    answer = service.post("/v1/plan", photo(200, 200))
    assert (answer.status, "200x200 is over the limit of 0.01 megapixels" in answer.detail) == (413, True)


def test_no_option_of_a_command_is_advised(service: Running):
    assert service.post("/v1/plan", photo(200, 200)).detail.endswith(" megapixels; shrink it")
    detail = service.post("/v1/upscale", photo()[:-40]).detail
    assert detail.startswith("image: truncated or corrupt PNG ")
    assert detail.endswith("; get a complete copy")


def test_models_and_states(service: Running):
    listed = service.get("/v1/models").json()
    assert {MODEL, "edsr-baseline-x4"} <= {each["name"] for each in listed["models"]}
    assert listed["default"] == "adaedsr-baseline"
    assert service.get("/healthz").json()["status"] == "ok"
    assert service.get("/readyz").json()["status"] == "ready"
    assert service.get("/nowhere").detail.startswith("/nowhere: no such path")
    assert service.get("/v1/upscale").status == 405


def test_a_network_with_exits_predicts_no_loss(tmp_path):
    file = tmp_path / "adapted.safetensors"
    checkpoints.save(model_of(CONFIGS["adaesrgan-tiles"]), file)
    with running(models=(str(file),)) as service:
        answer = service.post("/v1/upscale?budget=0.8&model=adapted", photo())
        assert (answer.status, "adadsr-predicted-loss" in answer.headers) == (200, False)
        assert service.post("/v1/plan?budget=0.8&model=adapted", photo()).json()["predicted_loss"] is None
        refused = service.post("/v1/upscale?max_loss=0.5&model=adapted", photo())
        assert refused.status == 422
        assert refused.detail.startswith("max_loss=0.5: adapted was adapted to its own full output")


def test_a_model_may_have_any_name_but_one_that_is_taken(tmp_path):
    file = tmp_path / "модель.safetensors"
    shutil.copy(BUNDLED / f"{MODEL}.safetensors", file)
    with running(models=(str(file),)) as service:
        answer = service.post(f"/v1/upscale?budget=0.5&model={quote('модель')}", photo())
        assert answer.body == service.post(f"/v1/upscale?budget=0.5&model={MODEL}", photo()).body
        assert unquote(answer.headers["adadsr-model"]) == "модель"
    for models in ((str(file), str(file)), (str(BUNDLED / f"{MODEL}.safetensors"),)):
        with pytest.raises(InputError, match=r"a model named \S+ is already offered; rename the file"):
            create_app(Settings(models=models))
    assert len(create_app(Settings(models=(MODEL,))).state.service.models.offers) == len(bundled_models())


def test_metrics_count(service: Running):
    before = service.metric("adadsr_served_budget_count")
    service.post("/v1/upscale?budget=0.5", photo())
    assert service.metric("adadsr_served_budget_count") == before + 1
    assert service.metric("adadsr_received_bytes_total") > len(photo())
    assert service.metric("adadsr_memory_bytes") == 0


def test_examples_run(service: Running, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo(format="jpg"))
    paths = service.get("/openapi.json").json()["paths"]
    lines = [
        sample["source"]
        for path in paths.values()
        for call in path.values()
        for sample in call.get("x-codeSamples", ())
    ]
    assert len(lines) >= 4
    for line in lines:
        here = line.replace("http://127.0.0.1:8080", service.address)
        subprocess.run(here, shell=True, check=True, cwd=tmp_path, capture_output=True, timeout=60)
    assert images.read_size(str(tmp_path / "large.png")) == (48, 64)


def test_pages_of_other_sites_and_other_names_of_this_machine_are_refused(service: Running):
    assert service.get("/v1/models", Origin="https://evil.example").status == 403
    assert service.get("/v1/models", Origin=service.address).status == 200
    assert service.get("/v1/models", Host="evil.example").status == 403
    assert service.get("/v1/models", Host="evil.example", Origin="http://evil.example").status == 403


def test_allowed_origins_may_call():
    site = "https://photos.example"
    with running(origins=(site,)) as service:
        asked = service.call("OPTIONS", "/v1/plan", Origin=site, Access_Control_Request_Method="POST")
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, site)
        assert int(asked.headers["access-control-max-age"]) > 0
        result = service.post("/v1/upscale?budget=0.5", photo(), Origin=site).headers
        readable = result["access-control-expose-headers"].lower().split(", ")
        assert {name for name in result if name.startswith("adadsr-")} < set(readable)
        assert "*" not in "".join(readable)
        assert service.get("/v1/models", Origin=site).headers["access-control-allow-origin"] == site
        assert service.get("/v1/models", Host="photos.example").status == 200


def test_keys():
    key = "correct-horse-battery-staple"
    with running(keys=("another-key-of-some-length", key)) as service:
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {key}"}):
            refused = service.get("/v1/models", **wrong)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="adadsr"')
        assert service.get("/v1/models", Authorization=f"Bearer {key}").status == 200
        assert service.get("/metrics").status == service.get("/nowhere").status == 401
        for path in ("/", "/page.js", "/healthz", "/readyz", "/openapi.json"):
            assert service.get(path).status == 200


@given(st.text("abc/", max_size=9).map(lambda text: f"/{text.strip('/')}".rstrip("/")))
def test_keys_hold_below_any_prefix(prefix: str):
    guard = Guard(None, Settings(keys=("a-key-of-some-length",)), None)
    for path in ("/v1/models", "/metrics", "/nowhere"):
        with pytest.raises(Problem, match="Authorization"):
            guard.check({"path": prefix + path, "root_path": prefix}, Headers({"host": "localhost"}))
    guard.check({"path": f"{prefix}/healthz", "root_path": prefix}, Headers({"host": "localhost"}))


def test_torch_is_not_imported():
    code = """
import sys
sys.path.insert(0, "tests")
import serving_samples as samples
with samples.running() as service:
    assert service.post("/v1/upscale?budget=0.5", samples.photo()).status == 200
    assert service.post("/v1/depth-map?budget=0.5", samples.photo()).status == 200
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
