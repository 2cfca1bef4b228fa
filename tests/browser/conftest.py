"""A headless Chromium, the real application, and the example page on another origin."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from examples.frontend.serve import HERE, server
from tests.browser.example_page import CHROMIUM
from tests.serving import Api, Caller, serving

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"

SignIn = Callable[[Caller], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, metavar="FOLDER", help="keep pictures of the example page there")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.exit("Chromium is not found. On Debian: apt-get install chromium. CHROMIUM names another one.", 1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-gpu", "--disable-quic", "--disable-sync"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def example() -> Iterator[str]:
    """The origin of the example page."""
    if not (HERE / "build").exists():
        pytest.exit("The example page is not built: `make browser` does that first. It needs Node 20 or later.", 1)
    with server(0) as files:
        thread = Thread(target=files.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{files.server_port}"
        files.shutdown()
        thread.join()


@pytest.fixture
def api(database: str, example: str) -> Iterator[Api]:
    with serving(database_url=database, cors_origins=example) as running:
        yield running


@pytest.fixture
def page(browser: Browser, api: Api) -> Iterator[Page]:
    """An empty page with the origin of the service, so that a relative URL is a request to the service."""
    with browser.new_page(base_url=str(api.anonymous.base_url), viewport={"width": 1280, "height": 1000}) as page:
        page.set_default_timeout(10_000)
        yield page


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """The errors in the page's console."""
    texts: list[str] = []
    page.on("console", lambda message: texts.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: texts.append(str(error)))
    return texts


@pytest.fixture
def sign_in(page: Page, example: str, api: Api) -> SignIn:
    """A function that opens the example page and pastes a caller's token into it."""

    def paste_the_token(caller: Caller) -> None:
        page.goto(example)
        page.get_by_label("Service").fill(str(api.anonymous.base_url))
        page.get_by_label("Token").fill(f'AUTH="Authorization: Bearer {caller.token}"')
        page.get_by_role("button", name="Continue").click()

    return paste_the_token
