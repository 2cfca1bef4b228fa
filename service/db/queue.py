"""The queue of requests that have no connection yet: one deadline each, and fair by user."""

from asyncio import Future
from collections import deque
from collections.abc import Hashable
from math import inf

import msgspec

from service.db.connection import Connection

BATCHES_IN_FLIGHT = 2
"""Batches under way at once. Few connections beat many: the reads that wait meanwhile make larger batches."""


class User(msgspec.Struct, eq=False):
    """`held` counts the connections that the user has, and `waiters` are its entries in the order of arrival."""

    id: Hashable | None
    held: int = 0
    waiters: "list[Waiter]" = []


class Waiter(msgspec.Struct, eq=False):
    """An entry of the queue: one request, or a batch of `size` requests. `deadline` is the event loop's time.

    A `capped` entry keeps to its user's share of the pool even while nobody else waits.
    """

    user: User
    deadline: float
    future: Future[Connection] | None = None
    capped: bool = False
    size: int = 1

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

    While batches hold fewer than `batch_share`, the next batch goes before all requests.

    Invariants: `_turns` has each user with waiters once, the next one first, except `batches`; the deadlines of a
    user's waiters do not decrease, for each is the same time from its arrival.
    """

    def __init__(self, share: int, batch_share: int = 0) -> None:
        self.size = 0
        self.share = share
        self._batch_share = batch_share
        self.batches = User(None)
        """Stands for the users of batched reads. It has no share of the pool; `held` is compared with `batch_share`."""
        self._turns: deque[User] = deque()
        self._users: dict[Hashable | None, User] = {None: self.batches}

    def __len__(self) -> int:
        return len(self.batches.waiters) + sum(len(user.waiters) for user in self._turns)

    def user(self, id: Hashable | None) -> User:
        """The user with this id; None stands for batched reads."""
        user = self._users.get(id)
        if user is None:
            user = self._users[id] = User(id)
        return user

    def forget(self, user: User) -> None:
        """Drop a user who neither holds a connection nor waits for one.

        Kept for the user's next request, the objects of many users would not fit the processor's cache: new ones cost
        a request less.
        """
        if not user.held and not user.waiters and user is not self.batches:
            self._users.pop(user.id, None)

    def put(self, waiter: Waiter) -> None:
        """Append an entry."""
        user = waiter.user
        if not user.waiters and user is not self.batches:
            self._turns.append(user)
        user.waiters.append(waiter)
        self.size += waiter.size

    def discard(self, waiter: Waiter) -> bool:
        """Remove an entry. Returns whether it was still queued."""
        user = waiter.user
        if waiter not in user.waiters:
            return False
        user.waiters.remove(waiter)
        self.size -= waiter.size
        if not user.waiters and user is not self.batches:
            self._turns.remove(user)
            self.forget(user)
        return True

    def pop(self) -> Waiter | None:
        """Remove and return the entry to start next, or None when none may start."""
        user = self._turns[0] if self._turns else None
        if user is None or user.held or self.batches.waiters:  # else it has its turn, as next() would say
            user = self.next()
        if user is None:
            return None
        waiter = user.waiters.pop(0)
        self.size -= waiter.size
        if user is not self.batches:
            self._turns.remove(user)
            if user.waiters:
                self._turns.append(user)
        return waiter

    def next(self) -> User | None:
        """The user whose turn it is.

        It is the one who holds the fewest connections; among equals, the one longest without a turn. A batch serves
        many users: it starts before the requests that came later, and before all if batches hold less than their share.
        """
        user = self._turns[0] if self._turns else None
        if user and user.held:
            user = self._next_user()
        batches = self.batches.waiters
        if not batches or batches[0].is_held_back():
            return user
        came_first = user and not user.held and user.waiters[0].deadline < batches[0].deadline
        return user if came_first and self.batches.held >= self._batch_share else self.batches

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
        waiting = (waiter for user in (self.batches, *self._turns) for waiter in user.waiters)
        late = [waiter for waiter in waiting if waiter.deadline <= now]
        for waiter in late:
            self.discard(waiter)
        return late

    def drained(self) -> list[Waiter]:
        """Remove and return every entry."""
        return self.expired(inf)
