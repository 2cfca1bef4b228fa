"""Why a statement has no rows. What each means for an HTTP caller is decided in api/problems.py."""


class DatabaseUnavailable(Exception):
    """No connection can be made. Nothing was sent."""


class ConnectTimeout(TimeoutError):
    """No connection was made within CONNECT_TIMEOUT."""


class PoolTimeout(Exception):
    """No connection became free before the deadline. Nothing was sent."""


class QueueFull(Exception):
    """MAX_WAITING requests wait for a connection already. Nothing was sent."""


class ConnectionLost(ConnectionError):
    """The connection ended, or gave no answer in time, while a statement was on it."""


class OutcomeUnknown(Exception):
    """A write was sent and no answer came: it may or may not be committed."""


class UnsuitableServer(Exception):
    """The server lacks what the service relies on. The message says what to change."""


class PreparedStatementsUnsupported(UnsuitableServer):
    """The pooler changed the session, where a statement's name is unknown or taken. The statement was not run."""

    def __init__(self) -> None:
        super().__init__("the pooler keeps no prepared statements: set PREPARED_STATEMENTS=false")
