"""The queue of requests that have no connection yet: one deadline each, and fair by user."""

from asyncio import Future
from collections import deque
from collections.abc import Hashable
from itertools import chain
from typing import Final

import msgspec

from service.db.connection import Connection

BATCHES: Final = "batches"
"""Used in place of a user's id for batches, because a batch serves many users."""

BATCHES_IN_FLIGHT = 2
"""Batches in flight at once. Few are faster than many: the reads that wait meanwhile form larger batches."""


class Waiter(msgspec.Struct, eq=False):
    """An entry of the queue: one request, or a batch of `size` requests. `deadline` is the event loop's time.

    A `limited_to_share` entry never takes its user above the share, even while no other user waits.
    """

    user: Hashable
    deadline: float
    future: Future[Connection] | None = None
    limited_to_share: bool = False
    size: int = 1

    def must_wait(self) -> bool:
        """Whether the entry may not start yet, even on an idle connection."""
        return False

    def start(self, connection: Connection) -> bool:
        """Continue the request with a connection. Returns False if it was cancelled: the connection is still free."""
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

    `held` has the number of connections of each user who has any, and of BATCHES; the pool updates it. While batches
    hold fewer than `batch_share`, the next batch goes before all requests.

    Invariants: `_first` has the first entry of each user who waits, in the order of their turns. `_later` has the other
    entries by user, and exactly one key for each user who waits. Batches are in neither. The deadlines of a user's
    entries do not decrease, for each is the same time from its arrival.
    """

    def __init__(self, share: int, batch_share: int = 0) -> None:
        self.size = 0
        self.share = share
        self.held: dict[Hashable, int] = {}
        self._batch_share = batch_share
        self._batches: deque[Waiter] = deque()
        self._first: deque[Waiter] = deque()
        self._later: dict[Hashable, deque[Waiter] | tuple[()]] = {}

    def __len__(self) -> int:
        return len(self._batches) + len(self._first) + sum(map(len, self._later.values()))

    def put(self, waiter: Waiter) -> None:
        """Append an entry."""
        self.size += waiter.size
        user = waiter.user
        if user is BATCHES:
            self._batches.append(waiter)
            return
        later = self._later.get(user)
        if later is None:
            self._later[user] = ()  # most users have one entry: no deque is made for them
            self._first.append(waiter)
        elif later:
            later.append(waiter)
        else:
            self._later[user] = deque((waiter,))

    def discard(self, waiter: Waiter) -> bool:
        """Remove an entry. Returns whether it was still queued."""
        entries = self._batches if waiter.user is BATCHES else self._later.get(waiter.user, ())
        if entries and waiter in entries:
            entries.remove(waiter)
        else:
            try:
                index = self._first.index(waiter)
            except ValueError:
                return False
            del self._first[index]
            self._promote(waiter.user, index)
        self.size -= waiter.size
        return True

    def _promote(self, user: Hashable, index: int) -> None:
        """Insert the user's next entry at `index` of `_first`. Without one, remove the user."""
        if later := self._later.pop(user):
            self._first.insert(index, later.popleft())
            self._later[user] = later

    def pop(self) -> Waiter | None:
        """Remove and return the entry to start next, or None when none may start."""
        first = self._first
        waiter = first[0] if first else None
        if waiter is None or waiter.user in self.held or self._batches:  # otherwise next() would return it too
            waiter = self.next()
            if waiter is None:
                return None
        self.size -= waiter.size
        if waiter.user is BATCHES:
            return self._batches.popleft()
        first.remove(waiter)
        self._promote(waiter.user, len(first))
        return waiter

    def next(self) -> Waiter | None:
        """The entry to start next.

        It belongs to the user who holds the fewest connections; among equals, to the one whose last turn is the longest
        ago. A batch serves many users: it starts before later requests, and before all requests while batches hold less
        than their share.
        """
        waiter = self._first[0] if self._first else None
        if waiter and waiter.user in self.held:
            waiter = self._next_of_users()
        batch = self._batches[0] if self._batches else None
        if batch is None or batch.must_wait():
            return waiter
        came_first = waiter and waiter.user not in self.held and waiter.deadline < batch.deadline
        return waiter if came_first and self.held.get(BATCHES, 0) >= self._batch_share else batch

    def _next_of_users(self) -> Waiter | None:
        """The first entry of the user who holds the fewest connections, or None.

        An entry of a user who holds the share or more is chosen only if every waiting user does, and only if it is not
        `limited_to_share`.
        """
        best, fewest, over_share = None, self.share, None
        for waiter in self._first:
            held = self.held.get(waiter.user, 0)
            if held == 0:
                return waiter  # found after at most as many steps as users hold connections
            if held < fewest:
                best, fewest = waiter, held
            elif over_share is None and not waiter.limited_to_share:
                over_share = waiter
        return best or over_share

    def pop_expired(self, now: float) -> list[Waiter]:
        """Remove and return the entries whose deadline has passed."""
        late = [waiter for waiter in self._entries() if waiter.deadline <= now]
        for waiter in late:
            self.discard(waiter)
        return late

    def _entries(self) -> list[Waiter]:
        """All entries, later ones before first ones: discarding them in this order promotes none of them."""
        return [*chain.from_iterable(self._later.values()), *self._first, *self._batches]

    def pop_all(self) -> list[Waiter]:
        """Remove and return every entry."""
        entries = self._entries()
        self._later.clear()
        self._first.clear()
        self._batches.clear()
        self.size = 0
        return entries
