"""Debian's Chromium, headless. CHROMIUM names another one."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.serving import Api


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--disable-gpu", "--disable-quic", "--disable-sync"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, api: Api) -> Iterator[Page]:
    """An empty page, whose addresses begin at the service."""
    with browser.new_page(base_url=str(api.anonymous.base_url), viewport={"width": 1280, "height": 1000}) as page:
        yield page


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the page's console shows as errors."""
    texts: list[str] = []
    page.on("console", lambda message: texts.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: texts.append(str(error)))
    return texts
