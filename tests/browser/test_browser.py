"""The browser of these tests works."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.slow  # Chromium takes a second or two to start


def test_scripts_run(page: Page) -> None:
    page.set_content("<h1>before</h1><script>document.querySelector('h1').textContent = 6 * 7</script>")
    assert page.locator("h1").inner_text() == "42"
