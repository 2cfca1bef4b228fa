"""The HTTP/1.1 edge: from the bytes of a connection to ASGI calls, and back. It replaces uvicorn's protocol class.

protocol.py parses the received bytes. connection.py orders the requests of one connection; deadlines.py has its states
and their deadlines. cycle.py is one request with its response. limits.py has every limit. uvicorn_interface.py lists
all private parts of uvicorn that are used.

No tasks, users, tokens or database here. May import `api.payloads`, `api.problems` and `timers`. Imported by `app`,
`server` and `observability.metrics`.
"""
