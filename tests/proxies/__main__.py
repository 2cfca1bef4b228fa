"""The command: conditional requests through real proxies that compress, and an edit on the example page.

It prints a table of proxy, tag and statuses, and fails if a status is not the expected one.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from uuid import uuid4

import httpx
from playwright.sync_api import Browser, expect, sync_playwright

from examples.frontend.serve import server
from service.db.migrations import migrate
from service.dev.postgres import embedded_postgres
from tests.browser.example_page import CHROMIUM, edit, row
from tests.proxies.servers import PROXIES, missing, running
from tests.serving import Api, Caller, serving

EXPECTED = {
    "get": 200,
    "known": 304,
    "update": 200,
    "stale": 412,
    "complete": 200,
    "delete": 204,
    "list": 200,
    "known list": 304,
    "page edit": 200,
}
COLUMNS = "{:<16} {:<20}" + " {:>10}" * len(EXPECTED)
COMPRESSED = {"Accept-Encoding": "gzip, br"}


def statuses(caller: Caller) -> tuple[str, dict[str, int]]:
    """The entity tag that a client gets through the proxy, and the status of each operation that sends it back."""
    task_id = caller.create(title="x", description="y" * 3000).json()["id"]
    task = f"{caller.tasks}/{task_id}"

    def call(method: str, path: str, **headers: str) -> httpx.Response:
        sent = COMPRESSED | {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"title": "changed", "completed": True} if method in ("PUT", "PATCH") else None
        return caller.request(method, path, headers=sent, json=body)

    first, whole = call("GET", task), call("GET", caller.tasks)
    tag = first.headers["etag"]
    found = {"get": first.status_code, "known": call("GET", task, If_None_Match=tag).status_code}
    found["list"] = whole.status_code
    found["known list"] = call("GET", caller.tasks, If_None_Match=whole.headers["etag"]).status_code
    found["update"] = call("PUT", task, If_Match=tag).status_code
    found["stale"] = call("PUT", task, If_Match=tag).status_code
    found["complete"] = call("PATCH", f"{task}/complete", If_Match=call("GET", task).headers["etag"]).status_code
    found["delete"] = call("DELETE", task, If_Match=call("GET", task).headers["etag"]).status_code
    return tag, found


def page_edit(browser: Browser, example: str, address: str, caller: Caller) -> int:
    """The status of an edit on the example page, which calls the proxy. The page first loads the task and its tag."""
    caller.create(title="Buy milk", description="y" * 3000)
    with browser.new_page() as page:
        page.goto(example)
        page.get_by_label("Service").fill(address)
        page.get_by_label("Token").fill(caller.token)
        page.get_by_role("button", name="Continue").click()
        page.get_by_label("Done: Buy milk").check()
        expect(row(page, "Buy milk")).to_be_visible()
        with page.expect_response(lambda response: response.request.method == "PUT") as answer:
            edit(page, "Buy milk", "Buy tea")
        return answer.value.status


def main() -> None:
    if packages := [*missing(), *([] if CHROMIUM else ["chromium"])]:
        sys.exit(f"error: programs are missing. On Debian: apt-get install {' '.join(packages)}")
    print(COLUMNS.format("proxy", "tag of version 1", *EXPECTED))
    wrong = 0
    with TemporaryDirectory() as folder, embedded_postgres(Path(folder, "postgres"), {"fsync": "off"}) as url_of:
        migrate(url_of("tasks"))
        with server(0) as files, sync_playwright() as playwright:
            example = f"http://127.0.0.1:{files.server_port}"
            Thread(target=files.serve_forever, daemon=True).start()
            browser = playwright.chromium.launch(executable_path=CHROMIUM)
            with serving(database_url=url_of("tasks"), cors_origins=example) as api:
                for proxy in PROXIES:
                    with TemporaryDirectory() as place, running(proxy, api.address[1], Path(place)) as address:
                        tag, found = through(api, address)
                        found["page edit"] = page_edit(browser, example, address, api.caller())
                    print(COLUMNS.format(proxy.name, tag, *(found[name] for name in EXPECTED)))
                    wrong += found != EXPECTED
            browser.close()
            files.shutdown()
    sys.exit(f"error: {wrong} proxies gave another status than {EXPECTED}" if wrong else 0)


def through(api: Api, address: str) -> tuple[str, dict[str, int]]:
    with httpx.Client(base_url=address, timeout=10) as client:
        return statuses(Caller(client, api.settings, uuid4()))


if __name__ == "__main__":
    main()
