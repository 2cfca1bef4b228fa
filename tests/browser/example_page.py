"""A user's actions on the example page, and the tasks that the service has afterwards."""

import os
import shutil

from playwright.sync_api import Locator, Page

from tests.serving import Caller

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
"""The path of the browser; None when it is not installed."""


def add(page: Page, title: str) -> None:
    page.get_by_label("What is to be done?").fill(title)
    page.keyboard.press("Enter")


def row(page: Page, title: str) -> Locator:
    """The visible row with this title. It matches only while no change of the row is pending."""
    return page.locator("li[aria-busy=false]:visible").filter(has=page.get_by_text(title, exact=True))


def edit(page: Page, title: str, to: str) -> Locator:
    """Save a new title in the editor of a task. Returns the editor."""
    page.get_by_label(f"Edit: {title}").click()
    editor = page.get_by_role("form", name="Edit task")
    editor.get_by_label("Title").fill(to)
    editor.get_by_role("button", name="Save").click()
    return editor


def delete(page: Page, title: str) -> None:
    """Delete a task, and wait until the deletion can no longer be undone. The page's clock must be installed."""
    page.get_by_label(f"Delete: {title}").click()
    page.mouse.move(0, 0)
    page.clock.fast_forward(5000)


def shown(page: Page) -> list[str]:
    """The titles in the list."""
    return page.locator("li:visible .title").all_inner_texts()


def titles(caller: Caller) -> list[str]:
    return [task["title"] for task in caller.list().json()]
