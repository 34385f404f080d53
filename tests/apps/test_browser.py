"""The dashboard in a real Chromium: what a reader sees and does, and what is on the disk afterwards.

MEDFUSE_SCREENSHOTS=1 also saves `tests/apps/screens/review.png`.
"""

import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from tests.apps.scored_folder import EVIL, FIRST
from tests.integration.test_review_command import answer, free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCREEN = {"width": 1366, "height": 768}
PATIENCE_MS = 240_000
SCREENS = Path(__file__).with_name("screens")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture
def page(scored_folder: Path) -> Iterator[Any]:
    """A page on the running dashboard; whatever it asks of another machine is refused and remembered."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    port = free_port()
    command = [sys.executable, "-m", "medfuse.cli.main", "review", str(scored_folder), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        answer(f"http://127.0.0.1:{port}/_stcore/health", server)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=PATIENCE_MS)
            opened = browser.new_page(viewport=SCREEN)
            opened.set_default_timeout(PATIENCE_MS)
            opened.outside, opened.sent = [], []
            opened.on("websocket", lambda socket: socket.on("framesent", lambda frame: opened.sent.append(frame)))
            opened.route("**/*", lambda route: _local_only(opened, route, port))
            opened.goto(f"http://127.0.0.1:{port}")
            yield opened
            assert opened.outside == []
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(60)


def _local_only(page: Any, route: Any, port: int) -> None:
    url = route.request.url
    if url.startswith((f"http://127.0.0.1:{port}/", "blob:", "data:")):
        route.continue_()
    else:
        page.outside.append(url)
        route.abort()


def slices(page: Any) -> Any:
    """The component's frame, its images drawn."""
    page.locator(".st-key-images iframe").wait_for()
    frame = page.frame_locator(".st-key-images iframe")
    frame.locator("#window-readout").filter(has_text="W ").wait_for()
    frame.locator("#message").wait_for(state="hidden")
    return frame


def pixels(frame: Any) -> np.ndarray:
    """The canvas as it is on the screen, shape (rows, columns, RGB)."""
    data = frame.locator("#slices").screenshot(timeout=PATIENCE_MS)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)


def orange(image: np.ndarray) -> np.ndarray:
    """Where the colour of the first segment lies over the image."""
    red, green, blue = np.moveaxis(image, -1, 0)
    return (red - blue > 60) & (red - green > 20) & (green > blue)


def kept(folder: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(folder / "reviews.sqlite")
    rows = connection.execute("SELECT study_instance_uid, subject, verdict, reviewer, comment FROM reviews").fetchall()
    connection.close()
    return rows


def open_first(page: Any) -> Any:
    page.get_by_placeholder("Your name, to decide").fill("Dr. Test")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Read ACC-001").click()
    return slices(page)


@pytest.mark.timeout(900)
def test_a_reader_opens_a_study_looks_and_decides(page: Any, scored_folder: Path) -> None:
    frame = open_first(page)
    _see_the_images(page, frame)
    _scroll_and_window_without_a_rerun(page, frame)
    row = page.locator(".st-key-findings")
    row.get_by_label("Comment on the lung nodule").fill("spiculated")
    row.get_by_role("button", name="Accept").first.click()
    page.get_by_text("Saved ").wait_for()
    assert kept(scored_folder) == [(FIRST, "lung_nodule", "ACCEPTED", "Dr. Test", "spiculated")]
    page.locator("q", has_text="spiculated").wait_for()
    if os.environ.get("MEDFUSE_SCREENSHOTS"):
        _save_screen(page)


@pytest.mark.timeout(900)
def test_hostile_text_runs_nothing(page: Any) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    open_first(page)
    for title in ("ACC-002", "ACC-003", "ACC-005"):
        page.get_by_role("button", name="Next").click()
        page.locator(".mf-title", has_text=title).wait_for()
    report = page.locator(".st-key-report")
    report.get_by_text("<script>").wait_for()
    page.locator(".st-key-whole").get_by_label("Comment on the whole study").fill(EVIL)
    page.locator(".st-key-whole").get_by_role("button", name="Unsure").click()
    page.locator("q", has_text="<script>").wait_for()
    assert page.title() == "medfuse review"
    assert dialogs == []
    assert report.locator("img, script, a").count() == 0


def _see_the_images(page: Any, frame: Any) -> None:
    """The canvas is drawn, the letters are there, and the nodule of the right lung is on the left of the plane."""
    image = pixels(frame)
    assert image.std() > 20
    axial = orange(image)[:, : int(0.6 * image.shape[1])]
    assert axial.sum() > 50
    assert np.argwhere(axial)[:, 1].mean() < 0.3 * image.shape[1]
    letters = frame.locator(".mark").all_inner_texts()
    assert sorted(letters) == sorted("RALP" + "RSLI" + "ASPI")
    assert frame.get_by_text("the patient's right is on the left").is_visible()
    frame.locator("#shown").uncheck()
    assert orange(pixels(frame)).sum() < 0.2 * axial.sum()
    frame.locator("#shown").check()
    assert page.locator("text=Research use only").count() == 1


def _scroll_and_window_without_a_rerun(page: Any, frame: Any) -> None:
    asked = len(page.sent)
    assert asked > 0
    assert frame.locator("#window-readout").inner_text() == "W 400  L 40"
    before = pixels(frame)
    frame.locator("#slices").hover()
    place = frame.locator("#position").inner_text()
    page.keyboard.press("2")
    assert frame.locator("#window-readout").inner_text() == "W 1500  L -600"
    page.mouse.wheel(0, -400)
    frame.locator("#position").filter(has_not_text=place).wait_for()
    assert np.abs(pixels(frame) - before).mean() > 5
    _drag(page, frame, "right", across=50)
    assert frame.locator("#window-readout").inner_text() == "W 1800  L -600"
    frame.get_by_role("button", name="Window", exact=True).click()
    _drag(page, frame, "left", along=25)
    assert frame.locator("#window-readout").inner_text() == "W 1800  L -420"
    page.keyboard.press("Space")
    assert frame.locator("#window-readout").inner_text() == "W 400  L 40"
    assert len(page.sent) == asked


def _drag(page: Any, frame: Any, button: Literal["left", "right"], *, across: float = 0, along: float = 0) -> None:
    box = frame.locator("#slices").bounding_box()
    x, y = box["x"] + 200, box["y"] + 300
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.mouse.move(x + across, y + along, steps=4)
    page.mouse.up(button=button)


def _save_screen(page: Any) -> None:
    SCREENS.mkdir(exist_ok=True)
    page.mouse.move(5, 5)
    shot = Image.open(io.BytesIO(page.screenshot()))
    path = SCREENS / "review.png"
    shot.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < 200_000
