"""The page at /docs, as somebody with a token uses it."""

from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page

from tests.serving import Api, Caller


def sign_in(page: Page, caller: Caller) -> None:
    page.goto("/docs")
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("auth-bearer-value").fill(caller.token)
    page.get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close", exact=True).last.click()


def execute(page: Page, operation: str, **parameters: str) -> Locator:
    """Opens an operation, fills its form in, sends it, and is where the answer shows."""
    block = page.locator(f"#operations-tasks-{operation}")
    block.locator(".opblock-summary-control").click()
    for name, value in parameters.items():
        block.get_by_placeholder(name).fill(value)
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response")
    answer.wait_for()
    return answer


def test_docs_sends_what_is_typed_with_the_token(page: Page, complaints: list[str], api: Api, ada: Caller) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    sign_in(page, ada)

    assert "201" in execute(page, "create_task", user_id=ada.id).inner_text()
    assert "Buy milk" in execute(page, "list_tasks", user_id=ada.id).inner_text()
    assert [task["title"] for task in ada.list().json()] == ["Buy milk"]
    assert hosts - {""} == {api.anonymous.base_url.netloc.decode()}  # data: has none
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
