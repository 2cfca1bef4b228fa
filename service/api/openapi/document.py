"""The OpenAPI 3.1 document, made from the route table, the wire types and the error table so that it cannot drift."""

import re
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from service.api import problems as errors
from service.api.endpoint import Handler
from service.api.openapi.docs_page import page
from service.api.openapi.operations import BEARER, DESCRIPTION, OPERATIONS, TAGS, Operation, refusals
from service.api.openapi.parameters import HEADERS, JSONObject, headers, parameters
from service.api.payloads import PROBLEM, Response, encode
from service.api.problems import Problem, ProblemDocument, ProblemType
from service.observability.health import Health

VERSION = "0.1.0"

Schemas = dict[Any, JSONObject]
"""What the document says of a type."""
Row = tuple[str, str, Callable[..., Any]]
"""Method, path template, handler."""

KIND_NAMES = {kind: name.lower() for name, kind in vars(errors).items() if isinstance(kind, ProblemType)}


class Documents:
    """What can be read about the service: the document for programs, the page for people."""

    def __init__(self, private: Sequence[tuple[str, str, Handler]], public: Sequence[str]) -> None:
        responders: dict[str, Callable[..., Response]] = {
            "/health": Health.health,
            "/livez": Health.livez,
            "/readyz": Health.readyz,
            "/openapi.json": Documents.openapi,
            "/docs": Documents.docs,
        }
        table: list[Row] = [*private, *(("GET", path, responders[path]) for path in public)]
        self._openapi = Response(200, encode(document(table)))

    def openapi(self) -> Response:
        """This document."""
        return self._openapi

    def docs(self) -> Response:
        """A page to read this document on, and to try the operations."""
        return page()


def document(table: Iterable[Row]) -> JSONObject:
    """The document of the operations in `table`."""
    types = [ProblemDocument, *(kind for row in OPERATIONS.values() for kind in (row.answer, row.takes) if kind)]
    found, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    # At least one of the two. minProperties would count unknown members, and generators turn an anyOf into "any type".
    title, description = ({"required": [name], "properties": {name: True}} for name in ("title", "description"))
    components["UpdateTask"] |= {"if": title, "else": description}
    schemas: Schemas = dict(zip(types, found, strict=True))
    paths: dict[str, JSONObject] = {}
    for method, path, handler in table:
        operation = OPERATIONS[handler.__name__]
        names = re.findall(r"{(\w+)}", path)
        documented = paths.setdefault(path, {})[method.lower()] = {
            "operationId": handler.__name__,
            "summary": (handler.__doc__ or "").partition("\n")[0].removesuffix("."),
            "tags": ["tasks" if names else "service"],
            "security": [{"bearerAuth": []}] if names else [],
            "parameters": [_ref("parameters", name) for name in (*names, *operation.parameters, "X-Request-ID")],
            "responses": _success(operation, schemas) | _refusals(refusals(method, path, operation), schemas),
        }
        if operation.takes:
            examples = {name: {"value": body} for name, body in operation.bodies.items()}
            content = {"application/json": {"schema": schemas[operation.takes], "examples": examples}}
            documented["requestBody"] = {"required": not operation.optional, "content": content}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Task service", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": parameters(),
            "headers": headers(),
            "securitySchemes": {"bearerAuth": BEARER},
        },
    }


def _ref(section: str, name: str) -> JSONObject:
    return {"$ref": f"#/components/{section}/{name}"}


def _success(operation: Operation, schemas: Schemas) -> JSONObject:
    answer = _without_body(operation.status, (*operation.sends, "X-Request-ID"))
    answers = {str(operation.status): answer}
    if operation.media_type:
        media: JSONObject = {"schema": schemas[operation.answer]}
        if operation.example is not None:
            media["example"] = msgspec.to_builtins(operation.example)
        answer["content"] = {operation.media_type: media}
    if "If-None-Match" in operation.parameters:
        answers["304"] = _without_body(304, ("ETag", "X-Request-ID"))
    return answers


def _without_body(status: int, names: Iterable[str]) -> JSONObject:
    return {"description": HTTPStatus(status).phrase, "headers": {name: _ref("headers", name) for name in names}}


def _refusals(problems: Iterable[Problem], schemas: Schemas) -> JSONObject:
    media_type = dict(PROBLEM)[b"content-type"].decode()
    answers: JSONObject = {}
    for problem in sorted(problems, key=lambda problem: problem.type.status):
        example = msgspec.json.decode(problem.document())
        answer = answers.setdefault(
            str(problem.type.status),
            {
                "description": problem.type.title,
                "headers": {},
                "content": {media_type: {"schema": schemas[ProblemDocument], "examples": {}}},
            },
        )
        sent = {b"x-request-id", *dict(problem.headers)}
        answer["headers"] |= {name: _ref("headers", name) for name in HEADERS if name.lower().encode() in sent}
        name = problem.errors[0].type if problem.errors else KIND_NAMES[problem.type]
        answer["content"][media_type]["examples"][name] = {"summary": example["detail"], "value": example}
    return answers
