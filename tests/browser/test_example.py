"""The page in examples/frontend as a user sees it."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn
from tests.browser.example_page import add, delete, edit, row, shown, titles
from tests.serving import Api, Caller, until

ADD = "What is to be done?"


def test_example_adds_completes_edits_and_deletes(
    page: Page, complaints: list[str], sign_in: SignIn, api: Api, example: str, ada: Caller
) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.clock.install()
    sign_in(ada)
    expect(page.get_by_text("What you add above appears here.")).to_be_visible()

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
    delete(page, "Buy oat milk")
    expect(page.get_by_text("What you add above appears here.")).to_be_visible()
    expect(page.locator("li")).to_have_count(0)  # the service has answered
    assert titles(ada) == []
    assert hosts == {urlsplit(example).netloc, api.anonymous.base_url.netloc.decode()}
    assert complaints == []


def test_example_adds_a_description_in_a_field_that_grows(page: Page, sign_in: SignIn, ada: Caller) -> None:
    sign_in(ada)
    description = page.locator("#add").get_by_label("Description")
    expect(description).to_be_hidden()
    page.get_by_label(ADD).fill("Plan the garden")
    one_line = description.bounding_box()
    description.fill("Beans\nPeas\nTomatoes")
    three_lines = description.bounding_box()
    page.get_by_role("button", name="Add").click()

    expect(row(page, "Plan the garden").get_by_text("Tomatoes")).to_be_visible()
    assert [task["description"] for task in ada.list().json()] == ["Beans\nPeas\nTomatoes"]
    assert one_line
    assert three_lines
    assert three_lines["height"] > 2 * one_line["height"] * 0.8
    assert description.evaluate("field => field.scrollHeight <= field.clientHeight")


@pytest.mark.parametrize(
    ("title", "count"),
    [("x" * 449, ""), ("x" * 450, "450 of 500"), ("🥛" * 450, "450 of 500"), ("x" * 501, "501 of 500")],
)
def test_example_counts_a_title_that_comes_near_the_limit(
    page: Page, sign_in: SignIn, ada: Caller, title: str, count: str
) -> None:
    ada.create(title="Buy milk")
    sign_in(ada)

    page.get_by_label(ADD).fill(title)
    expect(page.locator("#new-count")).to_have_text(count)

    page.get_by_label("Edit: Buy milk").click()
    page.get_by_role("textbox", name="Title").fill(title)
    expect(page.locator("li .count")).to_have_text(count)


def test_example_reverts_a_refused_change_and_shows_the_reason(page: Page, sign_in: SignIn, ada: Caller) -> None:
    sign_in(ada)
    add(page, "x" * 501)

    expect(page.get_by_role("alert").filter(has_text=re.compile("title", re.IGNORECASE))).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_count(0)
    expect(page.get_by_label(ADD)).to_have_value("x" * 501)
    assert titles(ada) == []


def test_example_loads_more_until_there_is_no_more(page: Page, sign_in: SignIn, ada: Caller) -> None:
    for number in range(45):
        ada.create(title=f"Task {number}")
    sign_in(ada)

    for count in (20, 40):
        expect(page.get_by_role("listitem")).to_have_count(count)
        page.get_by_role("button", name="Load more").click()

    expect(page.get_by_role("listitem")).to_have_count(45)
    expect(page.get_by_role("button", name="Load more")).to_be_hidden()


@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        (lambda page: page.get_by_text("Open", exact=True).click(), ["Call Bob", "Buy milk"]),
        (lambda page: page.get_by_text("Done", exact=True).click(), ["Buy bread"]),
        (lambda page: page.get_by_label("Search").fill("BUY"), ["Buy bread", "Buy milk"]),
        (lambda page: page.get_by_label("Sort").select_option("Oldest first"), ["Buy milk", "Buy bread", "Call Bob"]),
        (
            lambda page: page.get_by_label("Sort").select_option("Recently changed"),
            ["Buy milk", "Call Bob", "Buy bread"],
        ),
    ],
    ids=["open", "done", "search", "oldest", "changed"],
)
def test_example_shows_the_tasks_of_the_filters(
    page: Page, sign_in: SignIn, ada: Caller, choose: Callable[[Page], object], expected: list[str]
) -> None:
    milk = ada.create(title="Buy milk").json()["id"]
    ada.create(title="Buy bread", completed=True)
    ada.create(title="Call Bob")
    ada.update(milk, description="Two cartons")
    sign_in(ada)
    expect(page.get_by_role("listitem")).to_have_count(3)

    choose(page)

    until(lambda: shown(page) == expected)


def test_example_moves_a_completed_task_out_of_the_open_ones(page: Page, sign_in: SignIn, ada: Caller) -> None:
    for title in ("Buy milk", "Buy bread"):
        ada.create(title=title)
    sign_in(ada)
    page.get_by_text("Open", exact=True).click()
    expect(page.get_by_text("2 found")).to_be_visible()

    page.get_by_label("Done: Buy bread").check()

    until(lambda: shown(page) == ["Buy milk"])
    expect(page.get_by_label("Done: Buy milk")).to_be_focused()
    page.get_by_text("Done", exact=True).click()
    until(lambda: shown(page) == ["Buy bread"])


def test_example_shows_all_tasks_again_after_an_empty_search(page: Page, sign_in: SignIn, ada: Caller) -> None:
    ada.create(title="Buy milk")
    sign_in(ada)
    page.get_by_label("Search").fill("tulip")
    page.get_by_role("button", name="Show all tasks").click()

    until(lambda: shown(page) == ["Buy milk"])
    expect(page.get_by_label("Search")).to_have_value("")


def test_example_keeps_an_open_editor_while_the_list_changes(page: Page, sign_in: SignIn, ada: Caller) -> None:
    ada.create(title="Buy milk")
    sign_in(ada)
    page.get_by_label("Edit: Buy milk").click()
    page.get_by_role("textbox", name="Title").fill("Buy oat milk")
    page.get_by_text("Done", exact=True).click()
    expect(page.get_by_text("Nothing done yet")).to_be_visible()
    page.get_by_text("All", exact=True).click()

    expect(page.get_by_role("textbox", name="Title")).to_have_value("Buy oat milk")


def test_example_works_by_keyboard_alone(page: Page, sign_in: SignIn, ada: Caller) -> None:
    keys = page.keyboard
    page.clock.install()
    sign_in(ada)  # the only use of the pointer
    expect(page.get_by_label(ADD)).to_be_focused()
    for title in ("Buy milk", "Buy bread"):
        keys.type(title)
        keys.press("Enter")
        expect(row(page, title)).to_be_visible()
    for _ in range(5):  # Add, the filter, the search, the order, and the first task
        keys.press("Tab")
    expect(page.get_by_label("Done: Buy bread")).to_be_focused()
    keys.press("Space")
    expect(page.get_by_text("1 of 2 done")).to_be_visible()
    keys.press("Tab")
    keys.press("Enter")
    keys.type(" and jam")  # after the title, where the cursor is
    keys.press("Enter")
    expect(row(page, "Buy bread and jam")).to_be_visible()
    expect(page.get_by_label("Edit: Buy bread and jam")).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")
    expect(page.get_by_label("Delete: Buy milk")).to_be_focused()
    keys.press("Control+z")
    expect(page.get_by_label("Delete: Buy bread and jam")).to_be_focused()
    for _ in range(5):
        keys.press("Shift+Tab")
    expect(page.get_by_label("All")).to_be_focused()
    keys.press("ArrowRight")

    until(lambda: shown(page) == ["Buy milk"])
    assert [(task["title"], task["completed"]) for task in ada.list().json()] == [
        ("Buy bread and jam", True),
        ("Buy milk", False),
    ]


@pytest.mark.parametrize(("token", "why"), [("a.b.c", "not a token"), ("e30.eyJzdWIiOiJ4In0.x", "token")])
def test_example_shows_why_it_cannot_sign_in(page: Page, sign_in: SignIn, ada: Caller, token: str, why: str) -> None:
    ada.token = token
    sign_in(ada)

    expect(page.get_by_role("alert")).to_contain_text(why)
    expect(page.get_by_label("Token")).to_be_focused()
