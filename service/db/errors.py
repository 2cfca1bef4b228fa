"""The errors of statements and connections. api/exceptions.py decides the HTTP responses."""


class DatabaseUnavailable(Exception):
    """No connection can be made. Nothing was sent."""


class ConnectTimeout(TimeoutError):
    """No connection was made within CONNECT_TIMEOUT."""


class PoolTimeout(Exception):
    """No connection became free before the deadline. Nothing was sent."""


class QueueFull(Exception):
    """MAX_WAITING requests wait for a connection already. Nothing was sent."""


class ConnectionLost(ConnectionError):
    """The connection ended, or the server did not answer in time, while a statement was running."""


class OutcomeUnknown(Exception):
    """A write was sent and not answered: it may or may not be committed."""


class UnsuitableServer(Exception):
    """The server lacks what the service relies on. The message says what to change."""


class PreparedStatementsUnsupported(UnsuitableServer):
    """The pooler switched to a session where the statement's name is unknown or in use. The statement was not run."""

    def __init__(self) -> None:
        super().__init__("the pooler keeps no prepared statements: set PREPARED_STATEMENTS=false")
