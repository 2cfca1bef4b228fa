"""Pages, order and filters of the list: every task exactly once, and a 422 for each bad parameter."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from service.tasks.query import ORDERS
from tests.proxy import Proxy
from tests.serving import Api, Caller, serving
from tests.wire import Wire, request

Rows = Callable[..., list[Any]]


def listed(caller: Caller, query: str) -> list[str]:
    """The titles on one page."""
    response = caller.request("GET", f"{caller.tasks}?{query}")
    assert response.status_code == 200, response.text
    return [task["title"] for task in response.json()]


def pages(caller: Caller, query: str) -> Iterator[list[Any]]:
    """The tasks of each page, one page after another by the Link header."""
    url = f"{caller.tasks}?{query}"
    while url:
        response = caller.request("GET", url)
        assert response.status_code == 200, response.text
        yield response.json()
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("link", ""))
        url = link[1] if link else ""


def refused(caller: Caller, query: str) -> str:
    """The parameter that a 422 names."""
    response = caller.request("GET", f"{caller.tasks}?{query}")
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["loc"][0] == "query"
    return str(error["loc"][-1])


@pytest.fixture
def three(ada: Caller) -> list[Any]:
    """Three tasks made in the order a, b, c and last changed in the order b, c, a; b is completed."""
    tasks = [ada.create(title=title, description=f"about {title}").json() for title in "abc"]
    ada.complete(tasks[1]["id"])
    ada.update(tasks[2]["id"], description="other")
    ada.update(tasks[0]["id"], description="50% Off_now")
    return tasks


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("sort=-created_at", "cba"),
        ("sort=created_at", "abc"),
        ("sort=-updated_at", "acb"),
        ("sort=updated_at", "bca"),
        ("completed=true", "b"),
        ("completed=false", "ca"),
        ("q=about", "b"),
        ("q=OTHER", "c"),
        ("q=0%25%20o", "a"),
        ("q=f_n", "a"),
        ("q=_", "a"),
        ("q=%25", "a"),
        ("q=C", "c"),
        ("q=nowhere", ""),
        ("q=b&completed=true&sort=created_at", "b"),
        ("limit=2", "cb"),
        ("limit=500", "cba"),
        ("unknown=1&also=%00", "cba"),
        ("q=", "cba"),
        ("cursor=&limit=2", "cb"),
        ("completed=True", "b"),
        ("completed=FALSE", "ca"),
        ("", "cba"),
    ],
)
def test_list_tasks_returns_the_tasks_of_the_query(ada: Caller, three: list[Any], query: str, titles: str) -> None:
    assert listed(ada, query) == list(titles)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=501", "limit"),
        ("limit=1e2", "limit"),
        ("limit=9223372036854775808", "limit"),
        ("limit=true", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=1&limit=1", "limit"),
        ("completed=yes", "completed"),
        ("completed=true&completed=false", "completed"),
        ("sort=title", "sort"),
        ("sort=", "sort"),
        ("q=" + "x" * 201, "q"),
        ("q=a%00b", "q"),
        ("q=%ff", "query"),
        ("cursor=abc", "cursor"),
        ("cursor=" + "A" * 52, "cursor"),
        ("cursor=" + "A" * 51 + "=", "cursor"),
        ("&".join(f"p{n}=1" for n in range(200)), "query"),
    ],
)
def test_list_tasks_names_the_parameter_at_fault(ada: Caller, query: str, name: str) -> None:
    assert refused(ada, query) == name


def test_list_tasks_takes_no_cursor_of_another_user_order_or_filter(ada: Caller, bob: Caller) -> None:
    for n in range(3):
        ada.create(title=f"task {n}")
        bob.create(title=f"task {n}")
    link = ada.request("GET", f"{ada.tasks}?limit=1").headers["link"]
    cursor = re.search("cursor=([^&>]+)", link)
    assert cursor

    assert listed(ada, f"limit=1&cursor={cursor[1]}") == ["task 1"]
    assert listed(ada, f"cursor={cursor[1]}") == ["task 1", "task 0"]
    assert refused(bob, f"limit=1&cursor={cursor[1]}") == "cursor"
    assert refused(ada, f"limit=1&sort=created_at&cursor={cursor[1]}") == "cursor"
    assert refused(ada, f"limit=1&completed=true&cursor={cursor[1]}") == "cursor"
    changed = cursor[1][:-1] + ("A" if cursor[1][-1] != "A" else "B")
    assert refused(ada, f"limit=1&cursor={changed}") == "cursor"


def test_list_tasks_has_no_link_after_the_last_page(ada: Caller) -> None:
    for n in range(4):
        ada.create(title=f"task {n}")

    assert "link" in ada.request("GET", f"{ada.tasks}?limit=3").headers
    assert "link" not in ada.request("GET", f"{ada.tasks}?limit=4").headers
    assert "link" not in ada.list().headers


@pytest.mark.parametrize("sort", ["-created_at", "created_at", "-updated_at", "updated_at"])
def test_list_tasks_pages_give_every_task_once_though_many_share_a_time(ada: Caller, rows: Rows, sort: str) -> None:
    ada.create(title="the first")
    rows(
        """insert into tasks (user_id, title, created_at, updated_at)
        select %s, 'task ' || n, now() - (n / 7) * interval '1 hour', now() - (n %% 5) * interval '1 hour'
        from generate_series(1, 999) as n""",
        ada.id,
    )

    tasks = [task for page in pages(ada, f"limit=100&sort={sort}") for task in page]

    column = sort.lstrip("-")
    assert len({task["id"] for task in tasks}) == len(tasks) == 1000
    order = [(task[column], task["id"]) for task in tasks]
    assert order == sorted(order, reverse=sort.startswith("-"))


def test_list_tasks_without_limit_streams_the_filtered_list(ada: Caller, rows: Rows) -> None:
    ada.create(title="the first")
    rows(
        """insert into tasks (user_id, title, completed)
        select %s, 'task ' || n, n %% 2 = 0 from generate_series(1, 2400) as n""",
        ada.id,
    )

    assert len(listed(ada, "completed=true")) == 1200
    assert len(listed(ada, "sort=created_at")) == 2401


@pytest.fixture
def sparse(ada: Caller, rows: Rows) -> None:
    """4,001 tasks: 8 are completed, of which 4 have a Z in the title and 4 in the description."""
    ada.create(title="the first")
    rows(
        """insert into tasks (user_id, title, description, completed, created_at, updated_at)
        select %s, case n %% 900 when 450 then 'Zebra' else 'task' end || n, case n %% 900 when 0 then 'A Z' end,
            n %% 450 = 0, now() + n / 7 * interval '1 second', now() - n %% 11 * interval '1 hour'
        from generate_series(1, 4000) as n""",
        ada.id,
    )


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.parametrize(("filters", "count"), [("completed=true", 8), ("q=z", 8), ("q=zebra", 4), ("q=zz", 0)])
def test_list_tasks_that_match_are_each_on_one_page_though_pages_may_be_short(
    ada: Caller, sort: str, filters: str, count: int
) -> None:
    found = list(pages(ada, f"limit=3&sort={sort}&{filters}"))

    tasks = [task for page in found for task in page]
    keys = [(task[sort.lstrip("-")], task["id"]) for task in tasks]
    assert len({id for _, id in keys}) == len(tasks) == count
    assert keys == sorted(keys, reverse=sort.startswith("-"))
    assert 5 <= len(found) <= 8
    assert ada.request("GET", f"{ada.tasks}?sort={sort}&{filters}").json() == tasks


def test_list_tasks_of_long_descriptions_are_searched_a_few_at_a_time(ada: Caller, rows: Rows) -> None:
    ada.create(title="the first", description="needle")
    rows(
        """insert into tasks (user_id, title, description)
        select %s, n, repeat('x', 4096) || 'needle' from generate_series(1, 300) as n""",
        ada.id,
    )

    found = list(pages(ada, "limit=10&q=needle"))

    assert [[task["title"] for task in page] for page in found] == [[], [], ["the first"]]


def test_list_tasks_search_reads_the_first_4096_characters_of_a_description(ada: Caller) -> None:
    ada.create(title="found", description="é" * 4090 + "needle")
    ada.create(title="not found", description="é" * 4091 + "needle")

    assert listed(ada, "q=needle") == ["found"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("title", "A TITLE"),
        ("TITLE", "a title"),
        ("über", "ÜBER"),
        ("ÜBER", "über"),
        ("ŁÓDŹ", "łódź"),
        ("привет", "ПРИВЕТ"),
        ("ΣΟΦΙΑ", "σοφια"),
        ("\u0131", "DIYARBAKIR"),
        ("straße", "STRAßE"),
        ("漢字", "a 漢字 b"),
        ("😀", "a 😀 b"),
    ],
)
def test_list_tasks_search_ignores_case_in_every_locale(ada: Caller, text: str, title: str) -> None:
    """The tests' own databases have the locale C, in which lower() knows ASCII alone."""
    ada.create(title=title)
    ada.create(title="another")

    assert listed(ada, urlencode({"q": text})) == [title]


def test_list_tasks_search_matches_each_character_literally(ada: Caller) -> None:
    characters = [chr(code) for code in range(1, 127) if not chr(code).isalpha()]
    for character in characters:
        ada.create(title=f"a{character}b")

    for character in characters:
        assert listed(ada, urlencode({"q": f"a{character}b"})) == [f"a{character}b"]


@pytest.mark.parametrize("text", ["a" * 200, "(a+)+" * 40, "ab" * 100, "[" * 200, "\\" * 200, "***=", "(?i)"])
def test_list_tasks_search_for_what_looks_like_an_expression_is_literal(ada: Caller, text: str) -> None:
    ada.create(title=text, description="a" * 5000)
    ada.create(title="other", description="b" * 5000)

    assert listed(ada, urlencode({"q": text})) == [text]


@pytest.mark.parametrize("query", ["", *(f"?sort={sort}" for sort in ORDERS), "?limit=4", "?q=z"])
def test_list_tasks_reads_each_long_task_by_itself(proxy: Proxy, query: str) -> None:
    with serving(database_url=proxy.url, probe_interval=3600) as api:
        api.fill()  # a connection that opens later would be counted
        ada = api.caller()
        tasks = [ada.create(title="z", description=text * 4097).json() for text in ("", "y", "x", "")]
        before = proxy.statements

        response = ada.request("GET", ada.tasks + query)

        assert response.json() == (tasks if query in ("?sort=created_at", "?sort=updated_at") else tasks[::-1])
        assert proxy.statements - before == 3


@pytest.fixture
def sixty_long(ada: Caller, rows: Rows) -> None:
    """60 tasks of 1 MB, more than the buffers of a connection hold, and a short one. `60` is listed last."""
    ada.create(title="the first")
    rows(
        """insert into tasks (user_id, title, description, created_at)
        select %s, n, repeat('x', 1000000), now() - n * interval '1 minute' from generate_series(1, 60) as n""",
        ada.id,
    )


@pytest.mark.usefixtures("sixty_long")
def test_list_tasks_omits_a_long_task_that_is_deleted_while_it_is_read(api: Api, ada: Caller, rows: Rows) -> None:
    with Wire(api.address, receive_buffer=4096) as wire:
        wire.send(request("GET", ada.tasks, f"Authorization: Bearer {ada.token}"))
        assert not wire.ended()  # the list has begun
        assert rows("delete from tasks where title = '60' returning id")
        listed = json.loads(wire.answer().body)

    assert {task["title"] for task in listed} == {"the first", *map(str, range(1, 60))}


@pytest.mark.usefixtures("sixty_long")
def test_list_tasks_that_fails_while_it_is_streamed_is_cut_short(api: Api, ada: Caller, rows: Rows) -> None:
    with Wire(api.address, receive_buffer=4096) as wire:
        wire.send(request("GET", ada.tasks, f"Authorization: Bearer {ada.token}"))
        assert not wire.ended()  # the list has begun
        rows("alter table tasks rename to gone")
        received = wire.rest()

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(received) < 60_000_000
    assert not received.endswith(b"\r\n0\r\n\r\n")


def test_list_tasks_pages_have_every_surviving_task_once_while_tasks_are_created_and_deleted(
    api: Api, ada: Caller, rows: Rows
) -> None:
    ada.create(title="the first")
    rows(
        """insert into tasks (user_id, title, created_at)
        select %s, 'task ' || n, now() - n * interval '1 second' from generate_series(1, 9999) as n""",
        ada.id,
    )
    before = {str(id) for (id,) in rows("select id from tasks")}

    def come_and_go() -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: ada.create(title="new"), range(4)))
        rows("delete from tasks where id in (select id from tasks order by random() limit 20)")

    seen = []
    for page in pages(ada, "limit=500"):
        seen += [task["id"] for task in page]
        come_and_go()

    survivors = before & {str(id) for (id,) in rows("select id from tasks")}
    assert len(survivors) > 9000
    assert len(seen) == len(set(seen))
    assert survivors <= set(seen)
