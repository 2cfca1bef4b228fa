"""The report for a DBA: what the statements of sql/ cost on a real server, and the state of its tables.

`collect` reads it from PostgreSQL with the SQL files beside it; `render` writes it as text or HTML. It changes nothing.
Imported by `__main__` for the command `report` alone: a serving process never loads it.
"""
