"""A page of another origin uses every operation with `fetch`, including the preflight requests."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.serving import Api, Caller

CALLS = """
async ([tasks, token]) => {
  const answers = [];
  const call = async (method, url, headers = {}, body) => {
    const answer = await fetch(url, {
      method,
      headers: { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }), ...headers },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    answers.push([method, answer.status]);
    return { headers: answer.headers, body: text && JSON.parse(text) };
  };
  const once = { "Idempotency-Key": crypto.randomUUID() };
  const made = await call("POST", tasks, once, { title: "Buy milk" });
  const again = await call("POST", tasks, once, { title: "Buy milk" });
  const task = new URL(made.headers.get("Location"), tasks).href;
  await call("POST", tasks, {}, { title: "Another" });
  const page = await call("GET", `${tasks}?limit=1`);
  await call("GET", task, { "If-None-Match": made.headers.get("ETag") });
  const changed = await call("PUT", task, { "If-Match": made.headers.get("ETag") }, { title: "Buy oat milk" });
  const late = await call("PUT", task, { "If-Match": made.headers.get("ETag") }, { title: "Buy tea" });
  const done = await call("PATCH", `${task}/complete`, { "If-Match": changed.headers.get("ETag") });
  await call("DELETE", task, { "If-Match": done.headers.get("ETag") });
  await call("GET", task);
  return {
    answers,
    replayed: again.headers.get("Idempotent-Replayed"),
    link: page.headers.get("Link"),
    requestId: page.headers.get("X-Request-ID"),
    detail: late.body.detail,
    completed: done.body.completed,
  };
}
"""


@pytest.fixture
def preflights(page: Page) -> list[str]:
    """The method and path of each preflight request. The browser sends none when its cache has the permission."""
    asked: list[str] = []

    def note(event: dict[str, Any]) -> None:
        request = event["request"]
        if request["method"] == "OPTIONS":
            asked.append(
                f"{request['headers']['Access-Control-Request-Method']} {request['url'].partition('/tasks')[2]}"
            )

    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.requestWillBeSent", note)
    return asked


def test_fetch_from_another_origin_can_use_every_operation(
    page: Page, example: str, api: Api, ada: Caller, preflights: list[str]
) -> None:
    page.goto(example)

    result = page.evaluate(CALLS, [f"{api.anonymous.base_url}{ada.tasks}", ada.token])

    assert result["answers"] == [
        ["POST", 201],
        ["POST", 201],
        ["POST", 201],
        ["GET", 200],
        ["GET", 304],
        ["PUT", 200],
        ["PUT", 412],
        ["PATCH", 200],
        ["DELETE", 204],
        ["GET", 404],
    ]
    assert result["replayed"] == "true"
    assert 'rel="next"' in result["link"]
    assert result["requestId"]
    assert "changed meanwhile" in result["detail"]
    assert result["completed"] is True
    assert [task["title"] for task in ada.list().json()] == ["Another"]
    task = preflights[2].removeprefix("GET ")
    assert preflights == [
        "POST ",  # one for three calls
        "GET ?limit=1",
        f"GET {task}",  # Chromium does not use its cache for a call with If-None-Match or If-Match
        f"PUT {task}",
        f"PUT {task}",
        f"PATCH {task}/complete",
        f"DELETE {task}",  # its permission is also valid for the last GET
    ]


def test_fetch_from_an_origin_that_is_not_allowed_reads_nothing(
    page: Page, example: str, api: Api, ada: Caller
) -> None:
    page.goto(example.replace("127.0.0.1", "localhost"))

    failure = page.evaluate(
        "([url, token]) => fetch(url, {headers: {Authorization: `Bearer ${token}`}}).catch(error => error.name)",
        [f"{api.anonymous.base_url}{ada.tasks}", ada.token],
    )

    assert failure == "TypeError"
