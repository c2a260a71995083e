"""A real Chromium for tests that look at web pages; they are skipped where this machine has none (.ci/run installs it)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Containers give a process no namespaces of its own, a small /dev/shm and no GPU. The camera shows a test picture and asks nobody.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
TIMEOUT_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window, one for a module: Playwright's event loop occupies the thread, in which tests of other modules run theirs."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"needs a browser, one of {', '.join(PROGRAMS)}: apt-get install chromium")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of its own: no cookies, no storage of other tests. Whatever a script on it throws and doesn't catch fails the test at its end."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, permissions=["camera"])
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    yield page
    context.close()
    assert thrown == []
