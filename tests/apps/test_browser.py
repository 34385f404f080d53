"""The dashboard in a real Chromium: what a reader sees and does, and what is on the disk afterwards.

MEDFUSE_SCREENSHOTS=1 also saves `tests/apps/screens/*.png`.
"""

import io
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from medfuse.review import WorklistFilter, local_reader, open_room
from tests.apps.contrast import poor_contrasts
from tests.apps.scored_folder import EVIL, FIRST
from tests.integration.test_review_command import answer, free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCREEN = {"width": 1366, "height": 768}
PATIENCE_MS = 60_000
SCREENS = Path(__file__).with_name("screens")
MOST_BYTES = 200_000
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
SECRETS = """[auth]
redirect_uri = "http://127.0.0.1/oauth2callback"
cookie_secret = "tests only"
client_id = "medfuse"
client_secret = "tests only"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""
USERS = "users:\n  ames@example.org: {name: Dr. Ames, role: reader}\n"


class Server:
    """The dashboard on a port; it may be killed and started again."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment, self.port = folder, environment, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        from medfuse.cli.review import command_of, environment_of

        self.process = subprocess.Popen(
            command_of(self.port, "127.0.0.1"),
            env={**environment_of(self.folder), **self.environment},
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        answer(f"http://127.0.0.1:{self.port}/_stcore/health", self.process)

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests of this file."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=PATIENCE_MS)
        yield browser
        browser.close()


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Server]:
    server = Server(folder, environment)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def visiting(chromium: Any, server: Server, name: str = "Dr. Test", scheme: str = "dark") -> Iterator[Any]:
    """A page of a browser of its own; whatever it asks of another machine is refused and fails the test."""
    context = chromium.new_context(viewport=SCREEN, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.outside, page.sent, page.bytes_in = [], [], []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: page.sent.append(frame)))
    page.route("**/*", lambda route: _local_only(page, route, server.port))
    page.goto(f"http://127.0.0.1:{server.port}")
    if name:
        rows(page)
        page.get_by_placeholder("Your name, to decide").fill(name)
        page.keyboard.press("Enter")
        page.frame_locator(ROWS).get_by_role("button", name="Claim").first.and_(
            page.frame_locator(ROWS).locator(":enabled")
        ).wait_for()
    yield page
    assert page.outside == []
    context.close()


def _local_only(page: Any, route: Any, port: int) -> None:
    url = route.request.url
    if url.startswith((f"http://127.0.0.1:{port}/", "blob:", "data:")):
        route.continue_()
    else:
        page.outside.append(url)
        route.abort()


ROWS = 'iframe[title*="medfuse_rows"]'


def rows(page: Any) -> Any:
    """The lines of the worklist, drawn."""
    lines = page.frame_locator(ROWS).locator("tbody tr")
    lines.first.wait_for()
    return lines


def images(page: Any) -> Any:
    """The component's frame, its images drawn."""
    page.locator(".st-key-images iframe").wait_for()
    frame = page.frame_locator(".st-key-images iframe")
    frame.locator(".window-readout").first.filter(has_text="W ").wait_for()
    frame.locator(".message").first.wait_for(state="hidden")
    return frame


def open_case(page: Any, title: str = "ACC-001") -> Any:
    rows(page).filter(has_text=title).click()
    page.locator(".mf-title", has_text=title).wait_for()
    return images(page)


def pixels(frame: Any) -> np.ndarray:
    """The canvas as it is on the screen, shape (rows, columns, RGB)."""
    data = frame.locator("canvas").first.screenshot(timeout=PATIENCE_MS)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)


def orange(image: np.ndarray) -> np.ndarray:
    """Where the colour of the first segment lies over the image."""
    red, green, blue = np.moveaxis(image, -1, 0)
    return (red - blue > 60) & (red - green > 20) & (green > blue)


def kept(
    folder: Path, columns: str = "study_instance_uid, subject, verdict, reviewer, comment"
) -> list[tuple[Any, ...]]:
    """The decisions on the disk, in order."""
    connection = sqlite3.connect(folder / "reviews.sqlite")
    found = connection.execute(f"SELECT {columns} FROM decisions ORDER BY number").fetchall()  # noqa: S608 - a test's own words
    connection.close()
    return found


def finding(page: Any) -> Any:
    """The pane of findings; its first buttons are those of the nodule."""
    return page.locator(".st-key-findings")


def click(page: Any, name: str) -> None:
    finding(page).get_by_role("button", name=name, exact=True).first.click()


def screen(page: Any, name: str) -> None:
    """Keep a picture of the screen, where that is asked for."""
    if not os.environ.get("MEDFUSE_SCREENSHOTS"):
        return
    SCREENS.mkdir(exist_ok=True)
    page.mouse.move(700, 5)
    page.wait_for_timeout(400)
    shot = Image.open(io.BytesIO(page.screenshot()))
    path = SCREENS / f"{name}.png"
    shot.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES


def drag(page: Any, frame: Any, button: Literal["left", "right"], start: tuple[int, int], by: tuple[int, int]) -> None:
    box = frame.locator("canvas").first.bounding_box()
    x, y = box["x"] + start[0], box["y"] + start[1]
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.mouse.move(x + by[0], y + by[1], steps=5)
    page.mouse.up(button=button)


@pytest.mark.timeout(600)
def test_a_reader_goes_through_a_case(chromium: Any, scored_folder: Path) -> None:
    with serving(scored_folder) as server, visiting(chromium, server) as page:
        screen(page, "worklist")
        assert "\n".join(poor_contrasts(page)) == ""
        _choose_by_keyboard(page)
        frame = images(page)
        _see_the_images(page, frame)
        _look_around_without_a_rerun(page, frame)
        finding(page).get_by_label("Comment on the lung nodule").fill("spiculated")
        click(page, "Agree")
        page.get_by_text("Saved ").first.wait_for()
        assert kept(scored_folder) == [(FIRST, "lung_nodule", "ACCEPTED", "Dr. Test", "spiculated")]
        screen(page, "review")
        assert "\n".join(poor_contrasts(page)) == ""
        page.get_by_role("button", name="Sign off, stay").click()
        page.locator(".st-key-whole .mf-standing", has_text="Signed off").wait_for()
        click(page, "Disagree")
        page.get_by_text("Not saved").first.wait_for()
        page.get_by_placeholder("Reason for changing it").fill("second look")
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        click(page, "Disagree")
        page.get_by_text("amended since").wait_for()
        screen(page, "amended")
        said = kept(scored_folder, "kind, verdict, value, reason")
        assert said == [
            ("DECISION", "ACCEPTED", "PRESENT", ""),
            ("SIGN_OFF", "", "", ""),
            ("DECISION", "REJECTED", "ABSENT", "second look"),
        ]


@pytest.mark.timeout(600)
def test_a_reader_corrects_a_segmentation(chromium: Any, scored_folder: Path) -> None:
    with serving(scored_folder) as server, visiting(chromium, server) as page:
        frame = open_case(page)
        asked = len(page.sent)
        frame.get_by_role("button", name="Correct", exact=True).click()
        frame.locator("#targets").get_by_role("button", name="nodule").click()
        drag(page, frame, "left", (300, 200), (60, 60))
        frame.locator("#edit-notice", has_text="not saved yet").wait_for()
        assert len(page.sent) == asked
        screen(page, "correct")
        page.get_by_role("button", name="Worklist").click()
        frame.locator("#edit-notice", has_text="save or discard").wait_for()
        frame.get_by_role("button", name="Save").click()
        frame.locator("#overlays option", has_text="corrected by Dr. Test").wait_for(state="attached")
        frame.locator("#editing").wait_for(state="hidden")
        finding(page).get_by_text("corrected the outline").wait_for()
        (file,) = (scored_folder / "segmentations").glob("*.dcm")
        assert [(s, v) for _, s, v, *_ in kept(scored_folder)] == [("nodule", "REJECTED")]
        _is_the_model_with_more(scored_folder, file)


@pytest.mark.timeout(600)
def test_a_blind_reader_sees_the_model_after_deciding(chromium: Any, scored_folder: Path) -> None:
    with serving(scored_folder, MEDFUSE_REVIEW_BLIND="1") as server, visiting(chromium, server) as page:
        frame = open_case(page)
        assert orange(pixels(frame)).sum() < 50
        assert page.get_by_text("0.91").count() == 0
        click(page, "Absent")
        page.get_by_text("Saved ").first.wait_for()
        screen(page, "blind")
        page.get_by_role("button", name="Reveal the model").click()
        page.locator(".mf-track").first.wait_for()
        frame.locator("#segments .segment").first.wait_for()
        assert kept(scored_folder, "kind, value, shown") == [
            ("DECISION", "ABSENT", "BLIND"),
            ("REVEAL", "", "REVEALED"),
        ]


@pytest.mark.timeout(600)
def test_two_readers_on_one_case_lose_nothing(chromium: Any, scored_folder: Path) -> None:
    with serving(scored_folder) as server, visiting(chromium, server, "Dr. One") as one:
        open_case(one)
        with visiting(chromium, server, "Dr. Two") as two:
            open_case(two)
            two.get_by_text("Dr. One is reading this case").wait_for()
            for page, choice in ((one, "Agree"), (two, "Disagree")):
                click(page, choice)
                page.get_by_text("Saved ").first.wait_for()
            finding(two).get_by_text("Dr. One: agrees").wait_for()
            two.get_by_role("button", name="Worklist").click()
            rows(two)
            two.get_by_role("button", name="Agreement").click()
            two.locator(".mf-table").first.wait_for()
            screen(two, "agreement")
            assert "\n".join(poor_contrasts(two)) == ""
        assert [(v, r) for _, _, v, r, _ in kept(scored_folder)] == [("ACCEPTED", "Dr. One"), ("REJECTED", "Dr. Two")]


@pytest.mark.timeout(600)
def test_a_lost_connection_says_nothing_was_saved_and_comes_back_to_the_case(
    chromium: Any, scored_folder: Path
) -> None:
    with serving(scored_folder) as server, visiting(chromium, server) as page:
        open_case(page)
        click(page, "Agree")
        page.get_by_text("Saved ").first.wait_for()
        server.kill()
        finding(page).locator("button[disabled]", has_text="Disagree").first.wait_for()
        assert len(kept(scored_folder)) == 1
        server.start()
        finding(page).locator("button:enabled", has_text="Disagree").first.wait_for()
        page.locator(".mf-title", has_text="ACC-001").wait_for()
        finding(page).get_by_text("agrees, present").first.wait_for()
        page.wait_for_timeout(
            5000
        )  # the page is drawn anew; clicks before that are nobody's, and nothing is called saved
        click(page, "Disagree")
        finding(page).get_by_text("disagrees").first.wait_for()
        verdicts = [verdict for _, _, verdict, *_ in kept(scored_folder)]
        assert verdicts[0] == "ACCEPTED"
        assert verdicts[-1] == "REJECTED"
        room = open_room(scored_folder)
        status = room.desk(local_reader("Dr. Test")).page(WorklistFilter(text="ACC-001")).rows[0].status
        assert status.value == "started"
        room.close()


@pytest.mark.timeout(600)
def test_hostile_text_runs_nothing(chromium: Any, scored_folder: Path) -> None:
    dialogs: list[str] = []
    with serving(scored_folder) as server, visiting(chromium, server, EVIL[:80]) as page:
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        open_case(page, "ACC-005")
        report = page.locator(".st-key-report")
        report.get_by_text("<script>").wait_for()
        finding(page).get_by_label("Comment on the lung nodule").fill(EVIL)
        click(page, "Unsure")
        finding(page).get_by_text("unsure, uncertain").wait_for()
        page.get_by_role("button", name="Worklist").click()
        rows(page).filter(has_text="<script>").first.wait_for()
        page.get_by_role("button", name="Agreement").click()
        page.get_by_text("Drift of inputs").wait_for()
        assert page.title() == "medfuse review"
        assert dialogs == []
        assert page.locator("img[src=x], .mf-table script").count() == 0


@pytest.mark.timeout(600)
def test_the_light_theme_reads_as_well(chromium: Any, scored_folder: Path) -> None:
    with serving(scored_folder) as server, visiting(chromium, server) as page:
        page.locator("[data-testid=stMainMenu] button").click()
        page.locator("[data-testid=stMainMenuPopover]").get_by_text("Light").click()
        page.keyboard.press("Escape")
        page.wait_for_timeout(500)
        assert "\n".join(poor_contrasts(page)) == ""
        open_case(page)
        assert "\n".join(poor_contrasts(page)) == ""
        screen(page, "light")


@pytest.mark.timeout(600)
def test_a_department_signs_in(chromium: Any, scored_folder: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.yaml"
    users.write_text(USERS)
    (scored_folder / ".streamlit").mkdir()
    (scored_folder / ".streamlit" / "secrets.toml").write_text(SECRETS)
    with (
        serving(scored_folder, MEDFUSE_REVIEW_USERS=str(users)) as server,
        visiting(chromium, server, name="") as page,
    ):
        page.get_by_role("button", name="Sign in").wait_for()
        assert page.locator(ROWS).count() == 0
        assert "\n".join(poor_contrasts(page)) == ""
        screen(page, "login")


def _choose_by_keyboard(page: Any) -> None:
    """J and K go through the list, Enter opens."""
    lines = rows(page)
    page.locator(".mf-title").click()
    page.keyboard.press("j")
    assert lines.nth(1).get_attribute("data-chosen") is not None
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.locator(".mf-title", has_text="ACC-001").wait_for()


def _see_the_images(page: Any, frame: Any) -> None:
    """The canvas is drawn, the letters are there, and the nodule of the right lung is on the left of the plane."""
    image = pixels(frame)
    assert image.std() > 20
    axial = orange(image)[:, : int(0.6 * image.shape[1])]
    assert axial.sum() > 50
    assert np.argwhere(axial)[:, 1].mean() < 0.3 * image.shape[1]
    letters = frame.locator(".mark:not(.place)").all_inner_texts()
    assert sorted(letters) == sorted("RALP" + "RSLI" + "ASPI")
    assert frame.locator(".mark.place").all_inner_texts() == ["Ax 23/40", "Cor 76/128", "Sag 92/128"]
    assert frame.get_by_text("the patient's right is on the left").first.is_visible()
    assert page.locator("text=Research use only").count() == 1


def _look_around_without_a_rerun(page: Any, frame: Any) -> None:
    """Scroll, window, opacity, hiding the model, measures, lighting up a finding: the server hears of none of it."""
    asked = len(page.sent)
    readout = frame.locator(".window-readout").first
    assert asked > 0
    assert readout.inner_text() == "W 400  L 40"
    before = pixels(frame)
    frame.locator("canvas").first.hover()
    page.keyboard.press("2")
    assert readout.inner_text() == "W 1500  L -600"
    page.mouse.wheel(0, -400)
    frame.locator(".mark.place").first.filter(has_not_text="Ax 23/40").wait_for()
    assert np.abs(pixels(frame) - before).mean() > 5
    drag(page, frame, "right", (200, 300), (50, 0))
    assert readout.inner_text() == "W 1800  L -600"
    page.keyboard.press("d")
    drag(page, frame, "left", (150, 250), (100, 0))
    page.keyboard.press("a")
    drag(page, frame, "left", (250, 210), (80, 80))
    texts = frame.locator(".measures text").all_text_contents()
    assert re.fullmatch(r"\d+\.\d mm", texts[0])
    assert any(re.fullmatch(r"mean -?[\d.]+ ± [\d.]+ HU", text) for text in texts)
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    assert frame.locator(".measures text").count() == 0
    frame.locator("#opacity").fill("0")
    assert orange(pixels(frame)).sum() < 50
    frame.locator("#opacity").fill("45")
    page.locator(".mf-jump").first.hover()
    page.locator("mark.mf-lit", has_text="former smoker").wait_for()
    frame.locator(".segment[data-lit]", has_text="nodule").wait_for()
    page.keyboard.press("h")
    page.locator("body.mf-model-hidden").wait_for(state="attached")
    assert not page.locator(".mf-track").first.is_visible()
    page.keyboard.press("h")
    page.keyboard.press("?")
    frame.locator("#keys").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Space")
    assert readout.inner_text() == "W 400  L 40"
    assert len(page.sent) == asked


def _is_the_model_with_more(folder: Path, file: Path) -> None:
    """The new DICOM SEG holds the model's nodule and the stroke, on the same grid; the model's own is untouched."""
    from medfuse.ingest import read_segmentation
    from tests.apps.scored_folder import label_map, segmentation

    corrected = read_segmentation(file, segmentation().geometry).label_map
    model = label_map()
    assert (corrected[model == 1] == 1).all()
    assert 10 < int((corrected == 1).sum() - (model == 1).sum()) < 600
    assert (read_segmentation(folder / FIRST / "segmentation.nii.gz", segmentation().geometry).label_map == model).all()
