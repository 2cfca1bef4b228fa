"""The page in examples/frontend, as its user sees it: at once, and true in the end."""

import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from service.api.openapi.document import Documents
from service.app import PRIVATE, PUBLIC
from tests.browser.conftest import EXAMPLE
from tests.serving import Api, Caller

SignIn = Callable[[Caller], None]


@pytest.fixture
def sign_in(page: Page, example: str, api: Api) -> SignIn:
    def paste_the_token(caller: Caller) -> None:
        page.goto(example)
        page.get_by_label("Service").fill(str(api.anonymous.base_url))
        page.get_by_label("Token").fill(f'AUTH="Authorization: Bearer {caller.token}"')
        page.get_by_role("button", name="Continue").click()

    return paste_the_token


def add(page: Page, title: str) -> None:
    page.get_by_label("New task").fill(title)
    page.keyboard.press("Enter")


def row(page: Page, title: str) -> Locator:
    """The row with this title, once nothing of it is on its way."""
    return page.locator("li[aria-busy=false]").filter(has=page.get_by_text(title, exact=True))


def edit(page: Page, title: str, to: str) -> Locator:
    """The editor of a task, its new title saved."""
    page.get_by_label(f"Edit: {title}").click()
    editor = page.get_by_role("form", name="Edit task")
    editor.get_by_label("Title").fill(to)
    editor.get_by_role("button", name="Save").click()
    return editor


def titles(caller: Caller) -> list[str]:
    return [task["title"] for task in caller.list().json()]


def test_example_adds_toggles_edits_and_deletes(
    page: Page, complaints: list[str], sign_in: SignIn, api: Api, example: str, ada: Caller
) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    sign_in(ada)
    expect(page.get_by_text("Nothing to do")).to_be_visible()

    add(page, "Buy milk")
    expect(row(page, "Buy milk")).to_be_visible()
    page.get_by_label("Done: Buy milk").check()
    expect(page.get_by_text("1 of 1 done")).to_be_visible()
    edit(page, "Buy milk", "Buy oat milk")
    expect(row(page, "Buy oat milk")).to_be_visible()
    (task,) = ada.list().json()
    assert (task["title"], task["completed"]) == ("Buy oat milk", True)

    page.reload()
    expect(page.get_by_label("Done: Buy oat milk")).to_be_checked()
    page.get_by_label("Delete: Buy oat milk").click()
    expect(page.get_by_text("Nothing to do")).to_be_visible()
    expect(page.locator("li")).to_have_count(0)  # the service has answered
    assert titles(ada) == []
    assert hosts == {urlsplit(example).netloc, api.anonymous.base_url.netloc.decode()}
    assert complaints == []


def test_example_loads_more_until_there_is_no_more(page: Page, sign_in: SignIn, ada: Caller) -> None:
    for number in range(45):
        ada.create(title=f"Task {number}")
    sign_in(ada)

    for shown in (20, 40):
        expect(page.get_by_role("listitem")).to_have_count(shown)
        page.get_by_role("button", name="Load more").click()

    expect(page.get_by_role("listitem")).to_have_count(45)
    expect(page.get_by_role("button", name="Load more")).to_be_hidden()


def test_example_takes_back_what_is_refused_and_shows_why(page: Page, sign_in: SignIn, ada: Caller) -> None:
    sign_in(ada)
    add(page, "x" * 501)

    expect(page.get_by_role("alert").filter(has_text="title: ")).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_count(0)
    expect(page.get_by_label("New task")).to_have_value("x" * 501)
    assert titles(ada) == []


def test_example_shows_an_edit_that_another_writer_made_first(page: Page, sign_in: SignIn, ada: Caller) -> None:
    task_id = ada.create(title="Buy milk").json()["id"]
    sign_in(ada)
    page.get_by_label("Done: Buy milk").check()  # from here on the page knows the version
    expect(row(page, "Buy milk")).to_be_visible()
    ada.update(task_id, title="Buy bread")

    editor = edit(page, "Buy milk", "Buy tea")

    expect(editor.get_by_role("alert")).to_contain_text("changed meanwhile")
    expect(editor.get_by_role("alert")).to_contain_text("Buy bread")
    expect(editor.get_by_label("Title")).to_have_value("Buy tea")
    assert titles(ada) == ["Buy bread"]
    editor.get_by_role("button", name="Save").click()
    expect(row(page, "Buy tea")).to_be_visible()
    assert titles(ada) == ["Buy tea"]


@pytest.mark.parametrize("control", ["Done", "Delete"])
def test_example_changes_nothing_that_it_has_not_shown(page: Page, sign_in: SignIn, ada: Caller, control: str) -> None:
    task_id = ada.create(title="Buy milk").json()["id"]
    sign_in(ada)
    expect(row(page, "Buy milk")).to_be_visible()
    ada.update(task_id, title="Buy bread")

    page.get_by_label(f"{control}: Buy milk").click()

    expect(page.get_by_role("alert").filter(has_text="changed meanwhile")).to_be_visible()
    expect(row(page, "Buy bread")).to_be_visible()
    (task,) = ada.list().json()
    assert (task["title"], task["completed"]) == ("Buy bread", False)


def cut_the_first(method: str, page: Page, path: str) -> list[dict[str, Any]]:
    """Lets the first such request through and cuts the connection before its answer; the headers of each."""
    sent: list[dict[str, Any]] = []

    def cut(route: Route) -> None:
        if route.request.method == method:
            sent.append(route.request.headers)
        if route.request.method == method and len(sent) == 1:
            route.fetch()
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route(path, cut)
    return sent


def test_example_makes_one_task_when_the_answer_is_cut_off(page: Page, sign_in: SignIn, ada: Caller) -> None:
    sign_in(ada)
    sent = cut_the_first("POST", page, "**/tasks")

    add(page, "Buy milk")

    expect(row(page, "Buy milk")).to_be_visible()
    first, second = sent
    assert first["idempotency-key"] == second["idempotency-key"]
    assert titles(ada) == ["Buy milk"]


@pytest.mark.parametrize(("method", "control"), [("PUT", "Edit"), ("PATCH", "Done"), ("DELETE", "Delete")])
def test_example_takes_its_own_write_for_no_conflict(
    page: Page, sign_in: SignIn, ada: Caller, method: str, control: str
) -> None:
    ada.create(title="Buy milk")
    sign_in(ada)
    sent = cut_the_first(method, page, "**/tasks/**")

    with page.expect_response(lambda response: response.request.method == method):
        if control == "Edit":
            edit(page, "Buy milk", "Buy tea")
        else:
            page.get_by_label(f"{control}: Buy milk").click()

    expect(page.locator("li[aria-busy=true]")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert len(sent) == 2
    found = [(task["title"], task["completed"]) for task in ada.list().json()]
    assert found == {"Edit": [("Buy tea", False)], "Done": [("Buy milk", True)], "Delete": []}[control]


def test_example_sends_the_key_again_when_nobody_answered(page: Page, sign_in: SignIn, ada: Caller) -> None:
    page.clock.install()
    sign_in(ada)
    expect(page.get_by_text("Nothing to do")).to_be_visible()
    keys: list[str] = []

    def arrive_unanswered(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.fetch()
        route.abort("connectionreset")

    page.route("**/tasks", arrive_unanswered)
    add(page, "Buy milk")
    expect(page.get_by_text("Trying again")).to_be_visible()
    alert = page.get_by_role("alert").filter(has_text="There is no answer")
    while not alert.is_visible():
        page.clock.run_for(1000)
    expect(page.get_by_label("New task")).to_have_value("Buy milk")
    expect(page.get_by_role("listitem")).to_have_count(0)

    page.unroute("**/tasks")
    page.get_by_role("button", name="Add").click()

    expect(row(page, "Buy milk")).to_be_visible()
    assert len(set(keys)) == 1
    assert len(keys) == 4
    assert titles(ada) == ["Buy milk"]


@pytest.mark.parametrize(("token", "why"), [("a.b.c", "not a token"), ("e30.eyJzdWIiOiJ4In0.x", "no valid bearer")])
def test_example_says_why_it_cannot_sign_in(page: Page, sign_in: SignIn, ada: Caller, token: str, why: str) -> None:
    ada.token = token
    sign_in(ada)

    expect(page.get_by_role("alert")).to_contain_text(why)
    expect(page.get_by_label("Token")).to_be_focused()


def test_example_has_the_types_of_the_document() -> None:
    document = Documents(PRIVATE, PUBLIC).openapi().body

    checked = subprocess.run(
        ["npm", "run", "--silent", "types", "--", "--check"], cwd=EXAMPLE, input=document, capture_output=True
    )

    assert checked.returncode == 0, "`make client` writes them anew"
