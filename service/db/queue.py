"""The queue of requests that have no connection yet: one deadline each, and fair by user."""

from asyncio import Future
from collections import deque
from collections.abc import Hashable
from math import inf

from service.db.connection import Connection


class User:
    """A user that holds connections or waits for some: `held` counts them, `waiters` are in the order of arrival."""

    __slots__ = ("held", "key", "waiters")

    def __init__(self, key: Hashable | None) -> None:
        self.key = key
        self.held = 0
        self.waiters: list[Waiter] = []


class Waiter:
    """An entry of the queue: one request, or a batch of `size` requests. `deadline` is the event loop's time.

    A `capped` entry keeps to its user's share of the pool even while nobody else waits.
    """

    __slots__ = ("capped", "deadline", "future", "queued", "size", "user")

    def __init__(
        self, user: User, deadline: float, future: Future[Connection] | None = None, capped: bool = False
    ) -> None:
        self.user = user
        self.deadline = deadline
        self.future = future
        self.capped = capped
        self.queued = True
        self.size = 1

    def is_held_back(self) -> bool:
        """Whether the entry must not start yet, even on an idle connection."""
        return False

    def start(self, connection: Connection) -> bool:
        """Continue the request with a connection. Returns False if its task was just cancelled: it takes none."""
        if self.future is None or self.future.done():
            return False
        self.future.set_result(connection)
        return True

    def fail(self, error: Exception) -> None:
        """Continue the request with an exception."""
        if self.future and not self.future.done():
            self.future.set_exception(error)


class Queue:
    """Entries by user. `size` counts requests, `len()` entries. `share` is how many connections a user may hold.

    Invariants: `_turns` has each user with waiters once, the next one first, except `batches`; deadlines do not
    decrease in the order of arrival, for each is the same time from its arrival.
    """

    def __init__(self, share: int) -> None:
        self.size = 0
        self.share = share
        self.batches = User(None)
        """Stands for the users of batched reads, who share connections: these are not counted."""
        self._arrivals: deque[Waiter] = deque()  # may hold entries that have left the queue
        self._turns: deque[User] = deque()
        self._users: dict[Hashable, User] = {}

    def __len__(self) -> int:
        return len(self.batches.waiters) + sum(len(user.waiters) for user in self._turns)

    def user(self, key: Hashable | None) -> User:
        """The user with this id; None stands for batched reads."""
        if key is None:
            return self.batches
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = User(key)
        return user

    def forget(self, user: User) -> None:
        """Drop a user that holds no connection and waits for none."""
        if not user.held and not user.waiters:
            self._users.pop(user.key, None)

    def put(self, waiter: Waiter) -> None:
        """Append an entry."""
        user = waiter.user
        self.size += waiter.size
        while self._arrivals and not self._arrivals[0].queued:
            self._arrivals.popleft()  # else the batches of the last 50 ms, and their rows, would stay in memory
        self._arrivals.append(waiter)
        if not user.waiters and user is not self.batches:
            self._turns.append(user)
        user.waiters.append(waiter)

    def discard(self, waiter: Waiter) -> bool:
        """Remove an entry. Returns whether it was still queued."""
        if not waiter.queued:
            return False
        user = waiter.user
        waiter.queued = False
        self.size -= waiter.size
        user.waiters.remove(waiter)
        if not user.waiters and user is not self.batches:
            self._turns.remove(user)
            self.forget(user)
        return True

    def pop(self) -> Waiter | None:
        """Remove and return the entry to start next, or None when none may start."""
        user = self.next()
        if user is None:
            return None
        waiter = user.waiters.pop(0)
        waiter.queued = False
        self.size -= waiter.size
        if user is self.batches:
            return waiter
        if self._turns[0] is user:
            self._turns.popleft()
        else:
            self._turns.remove(user)
        if user.waiters:
            self._turns.append(user)
        return waiter

    def next(self) -> User | None:
        """The user whose turn it is.

        It is the one who holds the fewest connections; among equals, the one longest without a turn. A batch starts
        before the requests that came later: it is for many users, and with one turn among theirs it would be late.
        """
        user = self._turns[0] if self._turns else None
        if user and user.held:
            user = self._next_user()
        batches = self.batches.waiters
        if not batches or batches[0].is_held_back():
            return user
        if user and not user.held and user.waiters[0].deadline < batches[0].deadline:
            return user
        return self.batches

    def _next_user(self) -> User | None:
        """A user who holds the share has no turn while another may have it."""
        best, fewest, spare = None, self.share, None
        for user in self._turns:
            if user.held == 0:
                return user  # found after at most as many steps as users hold connections
            if user.held < fewest:
                best, fewest = user, user.held
            elif spare is None and not user.waiters[0].capped:
                spare = user
        return best or spare

    def expired(self, now: float) -> list[Waiter]:
        """Remove and return the entries whose deadline has passed."""
        late = []
        while self._arrivals and (not self._arrivals[0].queued or self._arrivals[0].deadline <= now):
            waiter = self._arrivals.popleft()
            if self.discard(waiter):
                late.append(waiter)
        return late

    def drained(self) -> list[Waiter]:
        """Remove and return every entry."""
        return self.expired(inf)
