"""The page in a real browser: sample, upload, seek, error, colours, keyboard, phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.unit.models.media.videos import write_video
from tests.unit.models.tiny_onnx import dots, write_pose_model
from tests.unit.serve.in_process import local_api, npz
from tests.unit.serve.in_thread import listening
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    # Twice as fast as most clips: they are played, and streamed, from beginning to end.
    samples = [tiny_clip(f"clip{number}", num_frames=40 + 20 * number, seed=number, glosses=("HAUS", "REGEN"), fps=50.0) for number in range(2)]
    bundle = save_tiny_bundle(folder / "bundle", tiny_network(scale=30), samples=samples)
    with listening(local_api(bundle.folder, live_pace_s=0.1, max_frames=1000)) as url:
        yield url


@pytest.fixture
def opened(page: Page, service: str) -> Page:
    page.goto(service)
    expect(page.locator("#model")).to_contain_text("mska_slr")
    return page


def test_a_sample_is_recognised_played_and_sought(opened: Page) -> None:
    opened.select_option("#sample", index=1)
    opened.click("#try")
    opened.wait_for_selector("#answer:not([hidden])")
    sentence = opened.inner_text("#sentence")
    buttons = opened.locator("#timeline button")
    assert [buttons.nth(index).inner_text() for index in range(buttons.count())] == sentence.split()
    assert opened.locator("#n-best tbody tr").count() >= 1
    assert opened.locator("#members tbody tr").count() == 5
    assert opened.evaluate(_PAINTED) > 100
    last = buttons.nth(buttons.count() - 1)
    last.click()
    assert last.get_attribute("aria-current") == "true"
    assert opened.locator("#glosses tr[aria-current=true]").count() == 1
    assert int(opened.input_value("#seek")) > 0
    opened.evaluate(_HEARD)
    opened.click("#play")
    expect(opened.locator("#seek")).to_have_value("1000")  # its end
    expect(opened.locator("#play")).to_have_text("Play")
    assert opened.evaluate("heard") == ["Pause", "Play"]


def test_a_file_is_uploaded_and_a_bad_one_named(opened: Page, tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(npz(tiny_clip(num_frames=60)))
    (tmp_path / "bad.npz").write_bytes(b"PK")
    (tmp_path / "text.txt").write_bytes(b"x")
    opened.set_input_files("#file", tmp_path / "mine.npz")
    opened.wait_for_selector("#answer:not([hidden])")
    assert "mine.npz" in opened.text_content("#facts dd")  # type: ignore[operator]
    for name, expected in (("bad.npz", "unreadable"), ("text.txt", "unsupported-media-type")):
        opened.set_input_files("#file", tmp_path / name)
        expect(opened.locator("#alert")).to_contain_text(f"({expected})")
        assert name in opened.inner_text("#alert")
    opened.click("#try")
    expect(opened.locator("#alert")).to_be_empty()


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that estimates keypoints in videos."""
    folder = tmp_path_factory.mktemp("seeing")
    bundle = save_tiny_bundle(folder / "bundle", tiny_network(scale=30))
    with listening(local_api(bundle.folder, video=True, pose_model=write_pose_model(folder / "pose.onnx"))) as url:
        yield url


def test_a_video_is_shown_below_its_skeleton(page: Page, seeing: str, tmp_path: Path) -> None:
    places = np.array([[[20 + step, 15], [40, 20 + step // 2], [30, 40]] for step in range(24)])
    video = write_video(tmp_path / "signing.webm", dots(places, (64, 48)), codec="libvpx")
    page.goto(seeing)
    expect(page.locator("#kinds")).to_contain_text("Video as MP4")
    page.set_input_files("#file", video)
    expect(page.locator("#facts dd").first).to_contain_text("signing.webm, 24 frames")
    expect(page.locator("#video")).to_be_visible()
    assert page.evaluate(_PAINTED) > 100
    page.focus("#seek")
    page.keyboard.press("End")
    assert page.evaluate("document.getElementById('video').currentTime") > 0.8


def test_the_camera_is_recorded_and_recognised(page: Page, seeing: str) -> None:
    page.goto(seeing)
    page.click("#record")
    expect(page.locator("#record")).to_have_text("Stop and recognise")
    page.wait_for_timeout(1500)  # of signing
    page.click("#record")
    expect(page.locator("#facts dd").first).to_contain_text("recording.webm")
    expect(page.locator("#record")).to_have_text("Record from the camera")


def test_the_camera_is_recognised_live(page: Page, seeing: str) -> None:
    page.goto(seeing)
    page.click("#live")
    expect(page.locator("#live-view")).to_be_visible()
    expect(page.locator("#live-sentence")).to_contain_text(re.compile(r"[A-Z]{2}"))  # a partial answer to the camera's pictures
    page.click("#live-end")
    expect(page.locator("#status")).to_contain_text("Done, live: ")
    expect(page.locator("#facts dd").first).to_contain_text("live, ")
    expect(page.locator("#live")).to_be_enabled()
    assert page.evaluate("document.getElementById('camera').srcObject") is None


def test_a_long_clip_becomes_a_job(opened: Page, tmp_path: Path) -> None:
    (tmp_path / "long.npz").write_bytes(npz(tiny_clip(num_frames=1200)))
    opened.set_input_files("#file", tmp_path / "long.npz")
    expect(opened.locator("#facts dd").first).to_contain_text("long.npz, 1200 frames")


def test_a_clip_is_streamed_live(opened: Page) -> None:
    opened.select_option("#sample", index=1)
    opened.click("#try")
    opened.click("#stream")
    expect(opened.locator("#live-view")).to_be_visible()
    expect(opened.locator("#live-sentence")).to_contain_text(re.compile(r"[A-Z]{2}"))  # partial answers while it is signed
    expect(opened.locator("#status")).to_contain_text("Done, live: ")
    assert opened.locator("#timeline button").count() == len(opened.inner_text("#sentence").split())
    opened.click("#stream")
    opened.click("#live-end")  # before its end, and before its first frames perhaps: both are answered
    expect(opened.locator("#answer")).to_be_visible()


def test_keys_are_asked_for(page: Page, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("open sesame\n", encoding="utf-8")
    bundle = save_tiny_bundle(tmp_path / "bundle")
    with listening(local_api(bundle.folder, api_keys_file=tmp_path / "keys")) as url:
        page.goto(url)
        page.wait_for_selector("#key-form:not([hidden])")
        page.fill("#key", "open sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_contain_text("mska_slr")
        expect(page.locator("#sample option")).to_have_text("this model carries none")
        assert page.is_disabled("#try")


def test_it_works_by_keyboard_in_the_dark_and_on_a_phone(opened: Page) -> None:
    opened.set_viewport_size({"width": 360, "height": 740})
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    opened.focus("#theme")
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.documentElement.dataset.theme") == "light"
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    opened.focus("#try")
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#answer:not([hidden])")
    assert opened.evaluate("document.activeElement.id") == "result"
    opened.focus("#timeline button")
    opened.keyboard.press("Enter")
    assert opened.locator("#timeline button[aria-current=true]").count() == 1
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    unnamed = "[...document.querySelectorAll('button, input, select')].filter(each => !each.labels?.length && !each.ariaLabel && !each.textContent.trim())"
    assert opened.evaluate(f"{unnamed}.length") == 0


def test_a_service_that_is_gone_is_told(page: Page, tmp_path: Path) -> None:
    bundle = save_tiny_bundle(tmp_path / "bundle", samples=[tiny_clip()])
    with listening(local_api(bundle.folder)) as url:
        page.goto(url)
        page.wait_for_selector("#try:not([disabled])")
    page.click("#try")
    expect(page.locator("#alert")).to_contain_text("(away)")


# What the button says, in its order: a clip that is played in a fraction of a second is over before a busy machine has looked.
_HEARD = """() => {
  window.heard = [];
  const button = document.getElementById("play");
  new MutationObserver(() => heard.push(button.textContent)).observe(button, { childList: true });
}"""
_PAINTED = """() => {
  const canvas = document.getElementById('canvas');
  return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter((value, index) => index % 4 === 3 && value).length;
}"""
