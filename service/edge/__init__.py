"""The HTTP/1.1 edge: bytes from the network to ASGI calls, and back. It takes the place of uvicorn's protocol class.

protocol.py parses what arrives, connection.py orders and times the requests of one connection, cycle.py is one request
and its response. Every limit is in limits.py; all that is private of uvicorn is in uvicorn_interface.py.
Nothing here knows tasks, users, tokens or the database: of the service it imports `api.payloads`, `api.problems` and
`timers` only. Imported by the composition root, the server and the metrics endpoint.
"""
