"""Tokens: valid tokens that were changed, and signed tokens with any header and claims."""

import json
import re
import time
from base64 import urlsafe_b64decode
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import examples
from tests.fuzz.examples import near, values
from tests.fuzz.tally import Line, Tally, documented
from tests.hostile.target import EVE, Target
from tests.tokens import ADA, LEEWAY, base64url, credentials, other_last_character
from tests.wire import request

SEGMENT = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
VISIBLE = "".join(map(chr, [*range(0x21, 0x7F), *range(0xA0, 0x100)]))

TEN_YEARS = 3650 * 86400

moments = (
    st.floats(-2e9, 2e10)
    | st.integers(-(10**20), 10**20)
    | st.integers(-7200, 7200).map(lambda seconds: int(time.time()) + seconds)
)
subjects = st.sampled_from([ADA, EVE.upper(), f"{{{EVE}}}", f"urn:uuid:{EVE}", EVE.replace("-", ""), f" {EVE}"])

HEADERS = {
    "alg": st.sampled_from(["none", "hs256", "HS384", "EdDSA", "RS256"]) | values,
    "typ": st.sampled_from(["at+jwt", "jwt", "JWS"]) | values,
    "kid": st.text(max_size=9) | values,
    **dict.fromkeys(("crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "cty"), values),
}
CLAIMS = {
    "sub": subjects | st.uuids().map(str) | values,
    **dict.fromkeys(("exp", "iat", "nbf"), moments | values),
    **dict.fromkeys(("iss", "aud", "jti", "role"), values),
}


@st.composite
def changed(draw: st.DrawFn, token: str) -> str:
    """The token with a part replaced, reordered, with a bit flipped, or with another last character."""
    parts = token.split(".")
    place = draw(st.integers(0, 2))
    match draw(st.sampled_from(["replace", "reorder", "flip", "respell"])):
        case "replace":
            start = draw(st.integers(0, len(token)))
            end = start + draw(st.sampled_from([0, 1, 8, 400]))
            return token[:start] + draw(st.text(draw(st.sampled_from([SEGMENT, VISIBLE])), max_size=20)) + token[end:]
        case "reorder":
            parts = draw(st.lists(st.sampled_from([*parts, "", "AAAA"]), max_size=5))
        case "flip":
            data = bytearray(urlsafe_b64decode(parts[place] + "=="))
            data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
            parts[place] = base64url(bytes(data)).decode()
        case "respell":
            parts[place] = other_last_character(parts[place].encode()).decode()
    return ".".join(parts)


def fuzz(target: Target, tally: Tally, cases: int, seed: int) -> None:
    """Half of the cases are a changed valid token; half are any header and claims, signed with the trusted key."""
    allowed = documented(target)["list_tasks"]
    good = target.authorization(EVE).removeprefix("Bearer ")
    claims = {"sub": EVE, "exp": int(time.time()) + 3600}
    signed = st.tuples(near({"alg": "HS256", "typ": "JWT"}, HEADERS), near(claims, CLAIMS))

    with Line(target.address, tally) as line:

        def attempt(authorization: str, expected: set[int]) -> None:
            asked = request("GET", f"{target.tasks}?limit=1", f"Authorization: {authorization}")
            answer = line.ask(asked, allowed)
            assert answer.status in expected, f"{answer.status}, not {expected}"

        def attempt_changed(token: str) -> None:
            attempt(f"Bearer {token}", {200 if token == good else 401})

        def attempt_signed(token: tuple[dict[str, Any], dict[str, Any]]) -> None:
            attempt(credentials(target.signer, *map(json.dumps, token)).decode(), {401, may_be(*token)})

        examples.run(tally, changed(good), attempt_changed, cases // 2, seed)
        examples.run(tally, signed, attempt_signed, cases - cases // 2, seed)


def may_be(header: dict[str, Any], claims: dict[str, Any]) -> int:
    """The status that a signed token may get for Eve's tasks, besides 401."""
    now, slack = time.time(), LEEWAY + 1  # a second for the response
    moments = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    good = (
        header.get("alg") == "HS256"
        and not header.keys() & {"crit", "b64"}
        and all(type(moment) in (int, float) for moment in moments.values())
        and now - slack < moments.get("exp", 0) < now + TEN_YEARS
        and moments.get("nbf", 0) < now + slack
        and re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(claims.get("sub")).lower())
    )
    if not good:
        return 401
    return 200 if claims["sub"].lower() == EVE else 403
