"""The example page at two widths in both colour schemes: axe finds no violation, and nothing exceeds the window."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, FloatRect, Page, expect

from tests.browser.conftest import AXE, SignIn
from tests.serving import Api

TASKS = [
    ("Water the plants", "", True),
    ("Call the dentist", "Move Thursday's appointment to the week after.", False),
    ("Renew the library card", "", True),
    ("Write the release notes", "Lists, entity tags and retries, with an example each", False),
    ("Book the train to Leipzig", "", False),
    ("Buy oat milk", "Two cartons", False),
]
"""Title, description and completed; the last task is the newest."""

Look = Callable[[str], None]


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Literal["light", "dark"]:
    chosen: Literal["light", "dark"] = request.param
    return chosen


@pytest.fixture(params=[390, 1280])
def page(
    browser: Browser, api: Api, request: pytest.FixtureRequest, scheme: Literal["light", "dark"]
) -> Iterator[Page]:
    with browser.new_page(
        viewport={"width": request.param, "height": 844 if request.param == 390 else 700},
        has_touch=request.param == 390,
        is_mobile=request.param == 390,
        device_scale_factor=2,
        color_scheme=scheme,
        reduced_motion="reduce",
    ) as page:
        page.set_default_timeout(10_000)
        yield page


@pytest.fixture
def look(page: Page, request: pytest.FixtureRequest, scheme: str) -> Look:
    """Run axe on the page in its current state. With --screenshots, also save a picture without wide margins."""
    folder = request.config.getoption("--screenshots")
    assert page.viewport_size
    width, height = page.viewport_size["width"], page.viewport_size["height"]

    def examine(state: str) -> None:
        if folder:
            margin = max(0, (width - 820) // 2)
            clip: FloatRect = {"x": margin, "y": 0, "width": width - 2 * margin, "height": height}
            page.screenshot(path=folder / f"{state}-{width}-{scheme}.png", clip=clip)
        page.add_script_tag(path=AXE)
        found: list[dict[str, Any]] = page.evaluate("axe.run().then(result => result.violations)")
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == [], state
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state

    return examine


def test_example_is_accessible_in_every_state(page: Page, look: Look, sign_in: SignIn, api: Api) -> None:
    nobody = api.caller()
    nobody.token = "a.b.c"
    sign_in(nobody)
    expect(page.get_by_role("alert").filter(has_text="not a token")).to_be_visible()
    look("sign-in")

    ada = api.caller()
    sign_in(ada)
    expect(page.get_by_text("Nothing to do")).to_be_visible()
    look("empty")

    for title, description, completed in TASKS:
        ada.create(title=title, description=description or None, completed=completed)
    page.reload()
    expect(page.get_by_role("listitem")).to_have_count(len(TASKS))
    page.locator("h1").click()  # no field has the focus
    page.get_by_text("Book the train to Leipzig").hover()
    look("list")

    page.get_by_label("What is to be done?").fill("Plan the garden")
    page.locator("#add").get_by_label("Description").fill("Beans\nPeas\nTomatoes\nBasil")
    look("adding")
    page.get_by_label("What is to be done?").fill("")
    page.locator("#add").get_by_label("Description").fill("")

    page.get_by_label("Edit: Call the dentist").click()
    page.get_by_role("textbox", name="Title").fill("x" * 501)
    look("editing")
    page.keyboard.press("Escape")

    page.get_by_label("Delete: Buy oat milk").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.get_by_label("What is to be done?").fill("x" * 501)
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_be_visible()
    look("messages")

    page.get_by_label("What is to be done?").fill("")
    page.get_by_label("Search").fill("tulip")
    expect(page.get_by_text("No task here contains “tulip”.")).to_be_visible()
    look("nothing-found")
