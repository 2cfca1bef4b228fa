"""The task resource: wire types, handlers, the list with its query parameters and cursors, and users on first use.

Everything that names a task, its columns or its statements is here, and nothing else: no HTTP parsing, no JSON error
handling, no SQL text. Imports `api`, `db` and `settings`; imported by `app` only.
"""
