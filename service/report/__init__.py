"""The report for a DBA: the costs of the statements of sql/ on a real server, and the state of the tables.

`collect` reads the figures from PostgreSQL with the SQL files in this folder; `render` writes them as text or HTML. No
code here may write to the database. Only `__main__` imports this package, for the command `report`: a serving process
never loads it.
"""
