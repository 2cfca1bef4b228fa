"""The report for a DBA: the costs of the statements in sql/ on a real server, and the state of the tables.

`collect` reads the figures from PostgreSQL with the SQL files in this folder. `render` formats them as text or HTML. No
code here may write to the database. May import `db`. Only `__main__` imports this package, for the command `report`, so
that a serving process never loads it.
"""
