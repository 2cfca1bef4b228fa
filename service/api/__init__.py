"""Between ASGI and a handler: routing, authentication of a request, bodies, problem documents, ETags, CORS, OpenAPI.

Nothing here names a task or a statement. `exceptions.py` maps the exceptions of `auth` and `db` to problems.
Imports `auth`, `db`, `observability.request_log`, `settings` and `version`. Imported by `tasks`, `observability` and
`app`; `edge` imports `payloads` and `problems` only.
"""
