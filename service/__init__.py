"""The task service: six endpoints over hand-written SQL. Start reading at app.py."""
