"""How the example page handles deletions, concurrent writers, lost responses and refused origins."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SignIn
from tests.browser.example_page import add, delete, edit, row, titles
from tests.serving import Api, Caller, until

ADD = "What is to be done?"


def test_example_sends_a_deletion_when_it_can_no_longer_be_undone(page: Page, sign_in: SignIn, ada: Caller) -> None:
    for title in ("Buy milk", "Buy bread", "Buy tea"):
        ada.create(title=title)
    before = ada.list().json()
    page.clock.install()
    sign_in(ada)
    for title in ("Buy bread", "Buy milk"):
        page.get_by_label(f"Delete: {title}").click()
        expect(page.get_by_label(f"Delete: {title}")).to_be_hidden()

    page.get_by_role("button", name="Undo").click()
    expect(row(page, "Buy milk")).to_be_visible()
    page.get_by_label("Search").focus()  # a focused message stays
    page.mouse.move(0, 0)
    assert ada.list().json() == before
    page.clock.fast_forward(5000)

    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    until(lambda: titles(ada) == ["Buy tea", "Buy milk"])
    assert ada.list().json() == [before[0], before[2]]  # the undone task is the same one, in the same place


def test_example_keeps_the_time_to_undo_while_the_pointer_is_there(page: Page, sign_in: SignIn, ada: Caller) -> None:
    ada.create(title="Buy milk")
    page.clock.install()
    sign_in(ada)
    page.get_by_label("Delete: Buy milk").click()
    page.get_by_role("button", name="Undo").hover()
    page.clock.fast_forward(60_000)

    page.get_by_role("button", name="Undo").click()

    expect(row(page, "Buy milk")).to_be_visible()
    assert titles(ada) == ["Buy milk"]


@pytest.mark.parametrize("leave", ["close", "sign out"])
def test_example_sends_a_deletion_before_the_user_leaves(page: Page, sign_in: SignIn, ada: Caller, leave: str) -> None:
    ada.create(title="Buy milk")
    sign_in(ada)
    with page.expect_response("**/tasks/*"):  # its response has the version
        page.get_by_label("Delete: Buy milk").click()
    expect(page.locator("li[aria-busy=true]")).to_have_count(0)

    if leave == "close":
        page.goto("about:blank")
    else:
        page.get_by_role("button", name="Sign out").click()

    until(lambda: titles(ada) == [])


def test_example_shows_an_edit_that_another_writer_made_first(page: Page, sign_in: SignIn, ada: Caller) -> None:
    task_id = ada.create(title="Buy milk").json()["id"]
    sign_in(ada)
    page.get_by_label("Done: Buy milk").check()  # the page has the version from now on
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
def test_example_changes_only_the_version_that_it_has_shown(
    page: Page, sign_in: SignIn, ada: Caller, control: str
) -> None:
    task_id = ada.create(title="Buy milk").json()["id"]
    sign_in(ada)
    expect(row(page, "Buy milk")).to_be_visible()
    ada.update(task_id, title="Buy bread")

    page.get_by_label(f"{control}: Buy milk").click()

    expect(page.get_by_role("alert").filter(has_text="changed meanwhile")).to_be_visible()
    expect(row(page, "Buy bread")).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    (task,) = ada.list().json()
    assert (task["title"], task["completed"]) == ("Buy bread", False)


def test_example_restores_a_task_that_changed_before_its_deletion_was_sent(
    page: Page, sign_in: SignIn, ada: Caller
) -> None:
    task_id = ada.create(title="Buy milk").json()["id"]
    page.clock.install()
    sign_in(ada)
    with page.expect_response("**/tasks/*"):
        page.get_by_label("Delete: Buy milk").click()
    expect(page.locator("li[aria-busy=true]")).to_have_count(0)
    ada.update(task_id, title="Buy bread")
    page.mouse.move(0, 0)
    page.clock.fast_forward(5000)

    expect(page.get_by_role("alert").filter(has_text="changed meanwhile")).to_be_visible()
    expect(row(page, "Buy bread")).to_be_visible()
    assert titles(ada) == ["Buy bread"]


@pytest.mark.parametrize("form", ['W/"{}"', '"{}-gzip"', '"{};br"'])
def test_example_sends_entity_tags_back_as_they_came(page: Page, sign_in: SignIn, ada: Caller, form: str) -> None:
    """A proxy that compresses makes a tag weak or adds a suffix to it."""
    sent: list[str] = []

    def change_tags(route: Route) -> None:
        if "if-match" in route.request.headers:
            sent.append(route.request.headers["if-match"])
        response = route.fetch()
        tag = response.headers.get("etag", "").strip('"')
        route.fulfill(response=response, headers=response.headers | ({"etag": form.format(tag)} if tag else {}))

    ada.create(title="Buy milk")
    page.route("**/tasks/**", change_tags)
    sign_in(ada)

    page.get_by_label("Done: Buy milk").check()
    expect(row(page, "Buy milk")).to_be_visible()
    edit(page, "Buy milk", "Buy tea")
    expect(row(page, "Buy tea")).to_be_visible()

    assert sent == [form.format(1), form.format(2)]
    assert titles(ada) == ["Buy tea"]


def cut_the_first(method: str, page: Page, path: str) -> list[dict[str, Any]]:
    """Forward the first such request, and reset the connection before its response. Returns the headers of all."""
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
def test_example_does_not_report_its_own_write_as_a_conflict(
    page: Page, sign_in: SignIn, ada: Caller, method: str, control: str
) -> None:
    ada.create(title="Buy milk")
    page.clock.install()
    sign_in(ada)
    sent = cut_the_first(method, page, "**/tasks/**")

    with page.expect_response(lambda response: response.request.method == method):
        if control == "Edit":
            edit(page, "Buy milk", "Buy tea")
        elif control == "Done":
            page.get_by_label("Done: Buy milk").check()
        else:
            delete(page, "Buy milk")

    expect(page.locator("li[aria-busy=true]")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert len(sent) == 2
    found = [(task["title"], task["completed"]) for task in ada.list().json()]
    assert found == {"Edit": [("Buy tea", False)], "Done": [("Buy milk", True)], "Delete": []}[control]


def test_example_repeats_the_key_after_no_response(page: Page, sign_in: SignIn, ada: Caller) -> None:
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
    expect(page.get_by_label(ADD)).to_have_value("Buy milk")
    expect(page.get_by_role("listitem")).to_have_count(0)

    page.unroute("**/tasks")
    page.get_by_role("button", name="Add").click()

    expect(row(page, "Buy milk")).to_be_visible()
    assert len(set(keys)) == 1
    assert len(keys) == 4
    assert titles(ada) == ["Buy milk"]


def test_example_distinguishes_a_refused_origin_from_a_service_that_is_down(
    page: Page, api: Api, ada: Caller, example: str, unused_tcp_port: int
) -> None:
    other = example.replace("127.0.0.1", "localhost")
    page.goto(other)
    page.get_by_label("Token").fill(ada.token)
    page.get_by_label("Service").fill(str(api.anonymous.base_url))
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text(f"refuses pages of {other}")
    expect(page.get_by_role("alert")).to_contain_text("CORS_ORIGINS")

    page.get_by_label("Service").fill(f"http://127.0.0.1:{unused_tcp_port}")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no answer")
