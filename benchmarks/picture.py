"""A picture of a page, by a browser that is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

WIDTH, HEIGHT = 1280, 1500


def picture_of(page: Path, picture: Path) -> bool:
    """Take a picture of the top of a page.

    Args:
        page: An HTML file.
        picture: The PNG file to write.

    Returns:
        Whether there was a Chromium, and Playwright to drive it; without them nothing is written.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return False
    if browser is None:
        return False
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        shown = started.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        shown.goto(page.absolute().as_uri())
        shown.screenshot(path=picture)
        started.close()
    return True
