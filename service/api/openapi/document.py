"""The OpenAPI 3.1 document, made from the route table, the wire types, the declared operations and the error table."""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from inspect import getdoc
from typing import Any

import msgspec

from service.api import problems
from service.api.openapi.operation import REQUEST_ID, RESPONSE_HEADERS, JSONObject, Operation, Parameter
from service.api.payloads import PROBLEM
from service.api.problems import HEADERS_TOO_LARGE, Problem, ProblemDocument, ProblemType, invalid
from service.api.routing import Route
from service.version import VERSION

LICENSE = {"name": "MIT", "identifier": "MIT"}
CONTACT = {"name": "The task service authors"}

Schemas = dict[Any, JSONObject]
"""The schema of each type, or a reference to it."""

TYPE_NAMES = {type: name.lower() for name, type in vars(problems).items() if isinstance(type, ProblemType)}

BEFORE_ROUTING = (
    problems.BAD_REQUEST,
    problems.ORIGIN_NOT_ALLOWED,
    problems.METHOD_NOT_FOR_PAGES,
    problems.PRIVATE_NETWORK_NOT_ALLOWED,
    problems.NOT_FOUND,
    problems.METHOD_NOT_ALLOWED,
    problems.REQUEST_TIMEOUT,
    HEADERS_TOO_LARGE,
    problems.OVERLOADED,
)
"""The problems of requests that no operation sees."""

DESCRIPTION = """Tasks of the signed-in user.

## Get a token

In development, `make dev` prints a token of the demo user. For another one, run this where the service is checked out:

    .venv/bin/python -m service token

In production, the issuer of your tokens gives one to each signed-in user. On this page, choose **Authorize** and paste
the token.

## Problems

An answer of 4xx or 5xx is a problem document (RFC 9457). Its `detail` is a sentence that you may show to the user.
Besides the problems that each operation lists, any address may answer:

""" + "\n".join(f"- {type.status}: {type.detail}" for type in BEFORE_ROUTING)

TAGS = {
    "tasks": "Operations on the signed-in user's tasks.",
    "service": "Health and documentation. No token is needed.",
}

BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token whose `sub` is the user's id. In development, `python -m service token` prints one.",
}


def document(routes: Iterable[Route], operations: Mapping[str, Operation], path: Mapping[str, Parameter]) -> JSONObject:
    """The document of `routes`. `operations` are by the handler's name, `path` has the parameters of the paths."""
    types = [ProblemDocument, *(type for row in operations.values() for type in (row.result, row.body) if type)]
    found, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for operation in operations.values():
        for name, rules in operation.body_rules.items():
            components[name] |= rules
    schemas: Schemas = dict(zip(types, found, strict=True))
    paths: dict[str, JSONObject] = {}
    for route in routes:
        if not route.documented:
            continue
        name = route.handler.__name__
        operation = operations[name]
        summary, _, description = (getdoc(route.handler) or "").partition("\n\n")
        parameters = (*re.findall(r"{(\w+)}", route.path), *operation.parameters, *REQUEST_ID)
        documented = paths.setdefault(route.path, {})[route.method.lower()] = {
            "operationId": name,
            "summary": summary.removesuffix("."),
            "description": description.replace("\n", " "),
            "tags": ["service" if route.public else "tasks"],
            "security": [] if route.public else [{"bearerAuth": []}],
            "parameters": [_ref("parameters", parameter) for parameter in parameters],
            "responses": _success(route, operation, schemas) | _refusals(_problems(route, operation), schemas),
        }
        if operation.body:
            examples = {name: {"value": body} for name, body in operation.body_examples.items()}
            content = {"application/json": {"schema": schemas[operation.body], "examples": examples}}
            documented["requestBody"] = {"required": operation.body_required, "content": content}
    declared = dict(path)
    for operation in operations.values():
        declared |= operation.parameters
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Task service",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": LICENSE,
            "contact": CONTACT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": {name: _parameter(name, parameter) for name, parameter in (declared | REQUEST_ID).items()},
            "headers": {name: msgspec.to_builtins(header) for name, header in RESPONSE_HEADERS.items()},
            "securitySchemes": {"bearerAuth": BEARER},
        },
    }


def _ref(section: str, name: str) -> JSONObject:
    return {"$ref": f"#/components/{section}/{name}"}


def _parameter(name: str, parameter: Parameter) -> JSONObject:
    about: JSONObject = {
        "name": name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    return about | ({"required": True, "example": parameter.example} if parameter.place == "path" else {})


def _success(route: Route, operation: Operation, schemas: Schemas) -> JSONObject:
    response = _without_body(operation.status, (*operation.headers, "X-Request-ID"))
    responses = {str(operation.status): response}
    if operation.result:
        media: JSONObject = {"schema": schemas[operation.result]}
        if operation.example is not None:
            media["example"] = msgspec.to_builtins(operation.example)
        response["content"] = {operation.media_type: media}
    if route.method == "GET" and "If-None-Match" in operation.parameters:
        responses["304"] = _without_body(304, ("ETag", "X-Request-ID"))
    return responses


def _without_body(status: int, names: Iterable[str]) -> JSONObject:
    return {"description": HTTPStatus(status).phrase, "headers": {name: _ref("headers", name) for name in names}}


def _problems(route: Route, operation: Operation) -> Iterator[Problem]:
    """Every problem that the operation at this route can answer with."""
    yield from operation.problems
    if route.public:
        yield Problem(HEADERS_TOO_LARGE)  # the only 4xx of a probe; linters require one
    else:
        yield from map(Problem, (problems.UNAUTHORIZED, problems.INVALID_TOKEN, problems.TOKEN_TOO_LARGE))
        yield invalid(["path", "user_id"], "uuid")
        yield Problem(problems.FORBIDDEN)
        yield Problem(problems.UNEXPECTED)
        yield from map(Problem, (problems.UNAVAILABLE, problems.OVERLOADED, problems.NO_KEYS))
    for name in {"If-Match", "If-None-Match"}.intersection(operation.parameters):
        yield invalid(["header", name], "entity_tag")
    if "If-Match" in operation.parameters:
        yield Problem(problems.PRECONDITION_FAILED)
    if route.method != "GET":
        yield from map(Problem, (problems.STORAGE_FULL, problems.OUTCOME_UNKNOWN))
    if operation.body:
        yield from map(Problem, (problems.CONTENT_TOO_LARGE, problems.UNSUPPORTED_ENCODING))
        yield invalid(["body"], "json_invalid")


def _refusals(problems: Iterable[Problem], schemas: Schemas) -> JSONObject:
    media_type = dict(PROBLEM)[b"content-type"].decode()
    responses: JSONObject = {}
    for problem in sorted(problems, key=lambda problem: problem.type.status):
        example = msgspec.json.decode(problem.document())
        response = responses.setdefault(
            str(problem.type.status),
            {
                "description": problem.type.title,
                "headers": {},
                "content": {media_type: {"schema": schemas[ProblemDocument], "examples": {}}},
            },
        )
        sent = set(dict(problem.headers))
        if problem.type is not HEADERS_TOO_LARGE:  # which is sent before the request has an id
            sent.add(b"x-request-id")
        response["headers"] |= {
            name: _ref("headers", name) for name in RESPONSE_HEADERS if name.lower().encode() in sent
        }
        error = problem.errors[0] if problem.errors else None
        name = f"{error.loc[-1]}.{error.type}" if error else TYPE_NAMES[problem.type]
        response["content"][media_type]["examples"][name] = {"summary": example["detail"], "value": example}
    return responses
