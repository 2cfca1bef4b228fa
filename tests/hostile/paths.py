"""Hostile paths and queries, with a valid token."""

from tests.hostile.row import Row, call
from tests.hostile.target import EVE
from tests.tokens import ADA
from tests.wire import request


def get(what: str, status: int, path: str, *headers: str) -> Row:
    return call(what, status, "GET", path, *headers)


ROWS = [
    get("31 %00 in the user's id", 422, f"/api/{EVE}%00/tasks"),
    get("31 %00 in the task's id", 422, "{task}%00"),
    get("31 %00 for an id", 422, "{tasks}/%00"),
    get("31 %00 elsewhere", 404, "{tasks}%00"),
    get("32 %ff", 422, "{tasks}/%ff"),
    get("32 % alone", 422, "{tasks}/%"),
    get("32 %zz", 422, "{tasks}/%zz"),
    get("33 %2F for a slash", 404, "{tasks}%2F" + EVE),
    get("33 %2f for each slash", 400, f"%2fapi%2f{EVE}%2ftasks"),
    get("33 %2F in an id", 422, f"{{tasks}}/{EVE}%2Fcomplete"),
    get("33 %252F", 404, "{tasks}%252F" + EVE),
    get("34 .. to one's own", 404, f"/api/{ADA}/../{EVE}/tasks"),
    get("34 .. for an id", 422, "{tasks}/.."),
    get("34 %2e%2e for an id", 422, "{tasks}/%2e%2e"),
    get("34 .. to a file", 404, "/../../etc/passwd"),
    get("35 //", 404, "/{tasks}"),
    get("35 // within", 404, f"/api//{EVE}/tasks"),
    get("35 an empty id", 404, "/api//tasks"),
    Row(
        "36 a slash more, of another host",
        404,
        lambda t: t.authorized("GET", t.tasks + "/").replace(b"tasks.", b"evil."),
    ),
    get("37 ;x behind", 404, "{tasks};x=1"),
    get("37 ;x in an id", 422, "{task};x=1"),
    get("38 UTF-8", 400, "{tasks}/\xc3\xa9"),
    get("38 a space", 400, "{tasks}/a b"),
    get("39 UUID in braces", 422, f"{{tasks}}/%7b{EVE}%7d"),
    get("39 UUID as a URN", 422, f"{{tasks}}/urn:uuid:{EVE}"),
    get("39 UUID in full-width letters", 422, "{tasks}/%ef%bc%a5" + EVE[1:]),
    get("39 UUID of 32 digits", 422, f"{{tasks}}/{EVE.replace('-', '')}"),
    get("39 UUID in upper case", 200, f"/api/{EVE.upper()}/tasks"),
    get("40 15 KB", 422, "{tasks}/" + "x" * 15_000),
    get("40 15 KB of segments", 404, "{tasks}" + "/x" * 7_500),
    get("40 1 MB", 431, "{tasks}/" + "x" * 1_000_000),
    get("41 absolute form", 200, "http://evil.example{tasks}"),
    get("41 absolute form without a path", 307, "http://evil.example"),
    Row("41 no slash first", 400, lambda target: request("GET", "api/tasks")),
    *(
        get(f"42 limit {limit[:12]}", 422, f"{{tasks}}?limit={limit}")
        for limit in ("-1", "0", "501", str(2**63), "1e3", "true", "abc", "", "%31%00", "1&limit=1", "9" * 9000)
    ),
    get("43 cursor forged", 422, "{tasks}?cursor=" + "A" * 52),
    get("43 cursor truncated", 422, "{tasks}?cursor=" + "A" * 51),
    get("43 cursor with a line end", 422, "{tasks}?cursor=" + "A" * 52 + "%0a"),
    get("43 cursor of Ada's", 422, "{tasks}?cursor={adas_cursor}"),
    get("44 parameter unknown", 200, "{tasks}?admin=true&user_id=" + ADA),
    get("44 parameters by the hundred", 422, "{tasks}?" + "&".join(["a=b"] * 101)),
    get("44 sort by another column", 422, "{tasks}?sort=title;drop+table+tasks"),
    get("44 text with NUL", 422, "{tasks}?q=%00"),
    get("44 text of no characters", 422, "{tasks}?q=%ff"),
    get("44 text with wildcards", 200, "{tasks}?q=%25_%5c%25"),
]
