"""examples/client/schema.d.ts has the texts and members of the OpenAPI document. `make client-check` compares all."""

import json
import re
from typing import Any

import pytest

from service.app import openapi
from service.settings import ROOT

DOCUMENT: dict[str, Any] = json.loads(openapi().body)

WRITTEN = re.sub(r"\s+(\* )?\s*", " ", (ROOT / "examples" / "client" / "schema.d.ts").read_text())

DESCRIBED: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"] | {
    operation["operationId"]: operation for item in DOCUMENT["paths"].values() for operation in item.values()
}


@pytest.mark.parametrize("described", DESCRIBED.values(), ids=DESCRIBED)
def test_types_of_the_client_have_each_text_and_member(described: dict[str, Any]) -> None:
    texts = [" ".join(described[name].split()) for name in ("summary", "description") if name in described]
    members = described.get("properties", {})

    assert not [text for text in texts if text not in WRITTEN], "run `make client`"
    assert not [name for name in members if not re.search(rf" {name}\??: ", WRITTEN)], "run `make client`"
