"""The page in a real browser, by mouse, keys and touch."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adadsr import images
from serving_samples import MODEL, Running, photo, running

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright; .ci/run installs it")

CHROMIUM = os.environ.get("ADADSR_CHROMIUM") or shutil.which("chromium")
REQUIRED = os.environ.get("ADADSR_REQUIRE_CHROMIUM") == "1"
pytestmark = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="needs chromium; .ci/run installs it")
SLOW = 60_000
"""Milliseconds within which anything must have happened, even on a busy machine."""
OTHER_HOSTS = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", f"--host-resolver-rules={OTHER_HOSTS}"]
        )
        yield found
        found.close()


class Visit:
    """A page, and what went wrong on it."""

    def __init__(self, page: "playwright.Page") -> None:
        self.page, self.errors, self.hosts = page, [], set()
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def add(self, *files: tuple[str, bytes]) -> None:
        """Choose files, and wait for the plan of the first."""
        kinds = {"png": "image/png", "jpg": "image/jpeg", "tif": "image/tiff"}
        given = [
            {"name": name, "mimeType": kinds[name.rpartition(".")[2]], "buffer": content} for name, content in files
        ]
        self.page.set_input_files("#files", given)
        self.page.locator("#figure-time", has_text="≈").wait_for()

    def run(self) -> None:
        """Enlarge, and wait for the result."""
        self.page.click("#run")
        self.page.locator("#download").wait_for()

    def budget(self, percent: int) -> None:
        """Move the slider."""
        self.page.locator("#budget").fill(str(percent))


@pytest.fixture
def visit(service: Running, browser: "playwright.Browser") -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    found = Visit(context.new_page())
    found.page.goto(service.address)
    yield found
    assert found.errors == []
    assert found.hosts <= {f"127.0.0.1:{service.port}", ""}, "the page called another host"
    context.close()


def test_upload_slide_overlay_run_and_download(visit: Visit, service: Running, tmp_path: Path):
    page = visit.page
    visit.add(("a.jpg", photo(48, 64, format="jpg")))
    shallow = service.post("/v1/plan?budget=0.4", photo(48, 64, format="jpg")).json()
    visit.budget(40)
    page.locator("#figure-depth", has_text=f"{shallow['mean_depth']:.1f}").wait_for()
    assert page.locator("#budget-value").text_content() == "40%"
    page.click("#depth")
    assert page.locator("#opacity").is_visible()
    visit.run()
    assert page.locator("#divider").is_visible()
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "a_2x.jpg"
    download.value.save_as(tmp_path / "a.jpg")
    expected = service.post("/v1/upscale?budget=0.4", photo(48, 64, format="jpg")).body
    assert (tmp_path / "a.jpg").read_bytes() == expected
    visit.budget(60)
    assert page.locator("#run").text_content() == "Enlarge again"


def test_the_size_and_the_model_can_be_chosen(visit: Visit):
    page = visit.page
    visit.add(("a.png", photo(24, 32)))
    page.check("#scales input[value='3']")
    page.locator("#size-help", has_text="96 × 72").wait_for()
    page.select_option("#model", "edsr-baseline")
    assert not page.locator("#budget").is_visible()
    visit.run()
    assert page.locator("#download").text_content() == "Download 96 × 72"


def test_the_command_does_what_the_page_does(visit: Visit, service: Running, tmp_path: Path):
    page = visit.page
    (tmp_path / "it's.png").write_bytes(photo())
    visit.add(("it's.png", photo()))
    visit.budget(45)
    page.click("#command-part summary")
    line = page.locator("#command").text_content()
    subprocess.run(line, shell=True, check=True, cwd=tmp_path, capture_output=True, timeout=60)
    assert (tmp_path / "large.png").read_bytes() == service.post("/v1/upscale?budget=0.45", photo()).body


def test_several_pictures_queue_and_can_be_removed(visit: Visit):
    page = visit.page
    visit.add(*((f"{index}.png", photo(seed=index)) for index in range(3)))
    page.locator(".item").nth(2).locator("img:visible").wait_for()
    page.click("#run-all")
    for index in range(3):
        page.locator(f".show[aria-label='{index}.png, done']").wait_for()
    for _ in range(3):
        page.locator(".item").first.hover()
        page.locator(".remove").first.click()
    assert page.locator("#choose").is_visible()


def test_a_tiff_is_shown_and_comes_back_as_one(visit: Visit):
    visit.add(("scan.tif", photo(format="tif")))
    visit.run()
    with visit.page.expect_download() as download:
        visit.page.click("#download")
    assert download.value.suggested_filename == "scan_2x.tif"


def test_a_result_that_cannot_be_shown_can_be_downloaded(visit: Visit):
    visit.page.route("**/result", lambda route: route.fulfill(status=413, body="{}"))
    visit.add(("scan.tif", photo(format="tif")))
    visit.run()
    with visit.page.expect_download() as download:
        visit.page.click("#download")
    assert download.value.suggested_filename == "scan_2x.tif"
    visit.errors.clear()  # the browser notes the status


def test_a_run_can_be_cancelled_while_its_result_is_converted(visit: Visit):
    visit.page.route("**/result", lambda route: None)
    visit.add(("scan.tif", photo(format="tif")))
    with visit.page.expect_request("**/result"):
        visit.page.click("#run")
    visit.page.click("#cancel")
    visit.page.locator("#run:enabled").wait_for()
    assert not visit.page.locator("#download").is_visible()


def test_a_run_can_be_cancelled(visit: Visit, service: Running):
    visit.add(("large.png", photo(800, 800)))
    visit.budget(100)
    visit.page.click("#run")
    visit.page.click("#cancel")
    visit.page.locator("#run:enabled").wait_for()
    visit.errors.clear()
    assert service.post("/v1/upscale", photo()).status == 200  # though what was cancelled may still be in a step


def test_what_is_not_a_picture_is_refused_in_words(visit: Visit):
    visit.page.set_input_files("#files", {"name": "notes.png", "mimeType": "image/png", "buffer": b"just words"})
    visit.page.locator("#notice", has_text="notes.png: the content is not PNG").wait_for()
    visit.errors.clear()  # the browser notes the status


def test_a_dropped_and_a_pasted_picture(visit: Visit):
    page = visit.page
    data = page.evaluate_handle(
        """bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"})); return data; }""",
        list(photo()),
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": data})
    assert page.locator("#dropping").is_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": data})
    page.locator(".show[aria-label='dropped.png, ready']").wait_for()
    page.evaluate("data => dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))", data)
    page.locator(".item").nth(1).wait_for()


def test_a_busy_service_is_asked_again(service: Running, browser: "playwright.Browser"):
    busy = {"type": "urn:adadsr:problem:overloaded", "title": "The service is busy", "status": 503, "retry_after": 1}
    context = browser.new_context()
    visit = Visit(context.new_page())
    visit.page.goto(service.address)
    refused = []

    def refuse_first(route: "playwright.Route") -> None:
        path = urlsplit(route.request.url).path
        if path in refused:
            route.continue_()
        else:
            refused.append(path)
            route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(busy))

    for path in ("images", "plan", "upscale"):
        visit.page.route(re.compile(f"/v1/{path}([?]|$)"), refuse_first)
    visit.add(("a.png", photo()))
    visit.run()
    assert sorted(refused) == ["/v1/images", "/v1/plan", "/v1/upscale"]
    context.close()


def test_everything_works_by_keyboard(visit: Visit):
    page = visit.page
    visit.add(("a.png", photo(48, 64)))
    page.locator("#budget").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#budget-value").text_content() == "51%"
    page.locator("#run").focus()
    page.keyboard.press("Enter")
    page.locator("#download").wait_for()
    page.locator("#divider").focus()
    page.keyboard.press("End")
    assert page.locator("#divider").get_attribute("aria-valuenow") == "100"
    page.locator("#stage").focus()
    page.keyboard.press("1")
    assert page.locator("#zoom").text_content() == "100%"
    page.keyboard.press("+")
    assert page.locator("#zoom").text_content() == "125%"
    page.keyboard.press("d")
    assert page.locator("#depth").get_attribute("aria-pressed") == "true"


def test_the_divider_and_the_picture_move_by_mouse(visit: Visit):
    page = visit.page
    visit.add(("a.png", photo(48, 64)))
    visit.run()
    box = page.locator("#stage").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle[1], steps=4)
    page.mouse.up()
    assert page.locator("#divider").get_attribute("aria-valuenow") == "25"
    before = page.locator("#zoom").text_content()
    page.mouse.move(*middle)
    page.mouse.wheel(0, -300)
    assert page.locator("#zoom").text_content() != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_all(service: Running, browser: "playwright.Browser", scheme: str):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    visit = Visit(context.new_page())
    visit.page.goto(service.address)
    assert visit.page.locator("#photograph").is_visible()
    visit.add(("a.png", photo(48, 64)))
    assert visit.page.evaluate("() => document.documentElement.scrollWidth") == 390
    visit.run()
    assert visit.errors == []
    context.close()


def test_a_key_is_asked_for(browser: "playwright.Browser"):
    key = "a-key-of-some-length"
    with running(keys=(key,)) as service:
        context = browser.new_context()
        page = context.new_page()
        page.goto(service.address)
        page.fill("#key", key)
        page.click("#ask button")
        page.locator("#model option", has_text=MODEL.removesuffix("-x2")).first.wait_for(state="attached")
        context.close()


def axe() -> Path | None:
    """axe-core, where ADADSR_AXE or npm's folder beside the repository has it."""
    named = os.environ.get("ADADSR_AXE")
    found = Path(named) if named else Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
    return found if found.exists() else None


@pytest.mark.skipif(axe() is None, reason="needs axe-core: npm install axe-core; .ci/run installs it")
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious(service: Running, browser: "playwright.Browser", scheme: str, width: int):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    visit = Visit(context.new_page())
    visit.page.goto(service.address)
    source = axe().read_text(encoding="utf-8")
    for step in (lambda: None, lambda: visit.add(("a.png", photo(48, 64))), visit.run):
        step()
        visit.page.evaluate(source)
        found = visit.page.evaluate("() => axe.run()")
        bad = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        shown = [(each["id"], [node["target"] for node in each["nodes"]]) for each in bad]
        assert bad == [], json.dumps(shown)
    context.close()


def test_the_page_is_interactive_soon(service: Running, browser: "playwright.Browser"):
    context = browser.new_context()
    page = context.new_page()
    page.goto(service.address)
    page.locator("#model option").first.wait_for(state="attached")
    milliseconds = page.evaluate("() => performance.now()")
    assert milliseconds < 10_000  # a busy machine; benchmarks/serve_load.py measures
    context.close()


def test_the_page_is_free_of_other_hosts_and_of_inline_code():
    web = Path(images.__file__).parents[1] / "web"
    for path in (each for each in web.iterdir() if each.is_file()):
        text = path.read_text(encoding="utf-8")
        foreign = [line for line in text.splitlines() if "://" in line and "www.w3.org" not in line]
        assert foreign == [], path.name
        assert "innerHTML" not in text
        assert len(text.splitlines()) <= 320
    index = (web / "index.html").read_text(encoding="utf-8")
    assert " style=" not in index
    assert " onclick" not in index
