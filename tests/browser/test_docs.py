"""The page at /docs for a user with a token: it sends the entered values, is readable, and axe finds no violation."""

import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from service.settings import ROOT
from tests.browser.conftest import AXE
from tests.serving import Api, Caller

OPERATIONS = ["list_tasks", "create_task", "get_task", "update_task", "delete_task", "complete_task"]

SWAGGER_UI = ROOT / "service" / "api" / "openapi" / "swagger_ui"
PACKAGE = Path(__file__).parent / "node_modules" / "swagger-ui-dist"


def sign_in(page: Page, caller: Caller) -> None:
    page.goto("/docs")
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("auth-bearer-value").fill(caller.token)
    page.get_by_role("dialog").get_by_role("button", name="Authorize").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").last.click()


def operation(page: Page, name: str) -> Locator:
    block = page.locator(f"#operations-tasks-{name}")
    block.locator(".opblock-summary-control").click()
    return block


def execute(page: Page, name: str, **parameters: str) -> Locator:
    """Open an operation, fill in its form, send it, and return the answer."""
    block = operation(page, name)
    for parameter, value in parameters.items():
        block.get_by_placeholder(parameter, exact=True).fill(value)
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response")
    answer.wait_for()
    return answer


def test_docs_sends_the_typed_request_with_the_token(page: Page, complaints: list[str], api: Api, ada: Caller) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    sign_in(page, ada)

    assert "201" in execute(page, "create_task", user_id=ada.id).inner_text()
    assert "Buy milk" in execute(page, "list_tasks", user_id=ada.id).inner_text()
    assert [task["title"] for task in ada.list().json()] == ["Buy milk"]
    assert hosts - {""} == {api.anonymous.base_url.netloc.decode()}  # a data: URL has no host
    assert complaints == []


def test_docs_cannot_send_the_token_to_another_host(page: Page, api: Api, bob: Caller) -> None:
    sign_in(page, bob)
    port = api.address[1]

    refused = page.evaluate(
        """port => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
            fetch(`http://localhost:${port}/health`, {mode: "no-cors"}).then(() => resolve("sent"), () => {});
        })""",
        port,
    )

    assert refused == "connect-src"


def test_docs_is_reached_from_the_root(page: Page) -> None:
    page.goto("/")

    assert urlsplit(page.url).path == "/docs"
    expect(page.get_by_role("heading", name="Get a token")).to_be_visible()


def test_docs_folds_the_problems_below_the_answer(page: Page) -> None:
    page.goto("/docs")
    block = operation(page, "delete_task")
    refusal = block.get_by_role("cell", name="412", exact=True)

    expect(block.get_by_role("cell", name="204", exact=True)).to_be_visible()
    expect(refusal).to_be_hidden()
    block.get_by_role("button", name="Show problems: 401, 403, 404, 412").click()
    expect(refusal).to_be_visible()
    block.get_by_role("button", name="Hide problems").click()
    expect(refusal).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_docs_is_accessible_in_every_state(
    browser: Browser, api: Api, ada: Caller, scheme: Any, width: int, request: pytest.FixtureRequest
) -> None:
    folder = request.config.getoption("--screenshots")
    with browser.new_page(
        base_url=str(api.anonymous.base_url), color_scheme=scheme, viewport={"width": width, "height": 1000}
    ) as page:

        def look(state: str) -> None:
            if folder:
                page.screenshot(path=folder / f"docs-{state}-{width}-{scheme}.png", full_page=True)
            page.evaluate(f"{AXE.read_text()}; 0")  # the page's policy refuses a script tag
            found: list[dict[str, Any]] = page.evaluate("axe.run().then(result => result.violations)")
            assert [
                (rule["id"], node["html"], node["failureSummary"]) for rule in found for node in rule["nodes"]
            ] == []

        page.goto("/docs")
        page.get_by_role("heading", name="Get a token").wait_for()
        look("start")
        page.get_by_role("button", name="Authorize").first.click()
        look("authorize")
        sign_in(page, ada)
        execute(page, "create_task", user_id=ada.id)
        look("answer")
        for name in OPERATIONS:
            if name != "create_task":
                operation(page, name)
        folded = page.get_by_role("button", name="Show problems")
        for _ in OPERATIONS:
            folded.first.click()
        expect(folded).to_have_count(0)
        look("all")
        scheme_is_dark = page.evaluate("document.documentElement.classList.contains('dark-mode')")
        assert scheme_is_dark == (scheme == "dark")


def test_docs_has_the_files_of_the_locked_release() -> None:
    for file in SWAGGER_UI.iterdir():
        assert file.read_bytes() == (PACKAGE / file.name).read_bytes(), "`make docs-assets` copies them"


def test_docs_names_a_command_that_prints_a_token(page: Page) -> None:
    page.goto("/docs")
    command = page.locator(".info pre").filter(has_text="token").inner_text().strip()

    printed = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    assert printed.count(".") == 2
