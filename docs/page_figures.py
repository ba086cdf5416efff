"""Screenshots of the page for the documents: python docs/page_figures.py. Needs playwright, Pillow and chromium."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
PHOTO = DOCS.parent / "assets" / "photo.png"
COMMAND = "from adadsr.cli import main; main()"
BUDGETS = (30, 50, 80)
COLORS = 256


def shot(page: Page, name: str = "body") -> Image.Image:
    """A part of the page."""
    return Image.open(io.BytesIO(page.locator(name).screenshot())).convert("RGB")


def save(image: Image.Image, name: str) -> None:
    """Write a small PNG."""
    image.quantize(COLORS, dither=Image.Dither.NONE).save(DOCS / name, optimize=True)


def plan(page: Page, budget: int) -> None:
    """Move the slider, and wait for its plan."""
    with page.expect_response(lambda answer: "/v1/plan" in answer.url and f"budget=0.{budget // 10}" in answer.url):
        page.locator("#budget").fill(str(budget))
    page.wait_for_timeout(1500)


def main() -> None:
    service = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    address = re.search(r"http://\S+", service.stderr.readline())[0]
    try:
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1040, "height": 720})
            page.set_default_timeout(300_000)
            page.goto(address)
            page.set_input_files("#files", PHOTO)
            page.locator("#figure-time", has_text="≈").wait_for()
            page.click("#depth")
            page.locator("#opacity").fill("75")
            maps = []
            for budget in BUDGETS:
                plan(page, budget)
                stage = shot(page, "#stage")
                side = min(stage.size)
                left = (stage.width - side) // 2
                maps.append(stage.crop((left, 0, left + side, side)).resize((300, 300)))
            row = Image.new("RGB", (3 * 300 + 2 * 8, maps[0].height), "white")
            for index, each in enumerate(maps):
                row.paste(each, (index * 308, 0))
            save(row, "page_budgets.png")
            page.click("#depth")
            plan(page, 50)
            page.click("#run")
            page.locator("#download").wait_for()
            page.click("#zoom-in")
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)
            save(shot(page), "page.png")
            browser.close()
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
