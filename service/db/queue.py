"""The queue of requests that have no connection yet: one deadline each, and fair by user."""

from asyncio import Future
from collections import deque
from collections.abc import Hashable, Iterator
from itertools import chain
from math import inf

import msgspec

from service.db.connection import Connection

BATCHES = "batches"
"""In place of a user's id: the batched reads, which are of many users."""

BATCHES_IN_FLIGHT = 2
"""Batches under way at once. Few connections beat many: the reads that wait meanwhile make larger batches."""


class Waiter(msgspec.Struct, eq=False):
    """An entry of the queue: one request, or a batch of `size` requests. `deadline` is the event loop's time.

    A `capped` entry keeps to its user's share of the pool even while nobody else waits.
    """

    user: Hashable
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

    `held` has the number of connections of each user who has any. While batches hold fewer than `batch_share`, the next
    batch goes before all requests.

    Invariants: `_turns` has the first entry of each user who waits, in the order of their turns. `_behind` has the
    other entries by user, and a key for each user who waits and for no other. Batches are in neither. The deadlines of
    a user's entries do not decrease, for each is the same time from its arrival.
    """

    def __init__(self, share: int, batch_share: int = 0) -> None:
        self.size = 0
        self.share = share
        self.held: dict[Hashable, int] = {}
        self._batch_share = batch_share
        self._batches: deque[Waiter] = deque()
        self._turns: deque[Waiter] = deque()
        self._behind: dict[Hashable, deque[Waiter] | tuple[()]] = {}

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def _entries(self) -> Iterator[Waiter]:
        return chain(self._batches, self._turns, *self._behind.values())

    def put(self, waiter: Waiter) -> None:
        """Append an entry."""
        self.size += waiter.size
        user = waiter.user
        if user is BATCHES:
            self._batches.append(waiter)
            return
        behind = self._behind.get(user)
        if behind is None:
            self._behind[user] = ()  # most users have one entry: no deque is made for them
            self._turns.append(waiter)
        elif behind:
            behind.append(waiter)
        else:
            self._behind[user] = deque((waiter,))

    def discard(self, waiter: Waiter) -> bool:
        """Remove an entry. Returns whether it was still queued."""
        entries = self._batches if waiter.user is BATCHES else self._behind.get(waiter.user, ())
        if entries and waiter in entries:
            entries.remove(waiter)
        elif waiter in self._turns:
            self._remove_first(waiter, self._turns.index(waiter))
        else:
            return False
        self.size -= waiter.size
        return True

    def _remove_first(self, waiter: Waiter, place: int) -> None:
        """Remove a user's first entry. The next one of the user, if any, has its turn at `place`."""
        self._turns.remove(waiter)
        if behind := self._behind.pop(waiter.user):
            self._turns.insert(place, behind.popleft())
            self._behind[waiter.user] = behind

    def pop(self) -> Waiter | None:
        """Remove and return the entry to start next, or None when none may start."""
        turns = self._turns
        waiter = turns[0] if turns else None
        if waiter is None or waiter.user in self.held or self._batches:  # else it has its turn, as next() would say
            waiter = self.next()
            if waiter is None:
                return None
        self.size -= waiter.size
        if waiter.user is BATCHES:
            return self._batches.popleft()
        self._remove_first(waiter, len(turns))
        return waiter

    def next(self) -> Waiter | None:
        """The entry whose turn it is.

        It is that of the user who holds the fewest connections; among equals, the one longest without a turn. A batch
        serves many users: it starts before the requests that came later, and before all if batches hold less than their
        share.
        """
        waiter = self._turns[0] if self._turns else None
        if waiter and waiter.user in self.held:
            waiter = self._next_of_users()
        batch = self._batches[0] if self._batches else None
        if batch is None or batch.is_held_back():
            return waiter
        came_first = waiter and waiter.user not in self.held and waiter.deadline < batch.deadline
        return waiter if came_first and self.held.get(BATCHES, 0) >= self._batch_share else batch

    def _next_of_users(self) -> Waiter | None:
        """A user who holds the share has no turn while another may have it."""
        best, fewest, spare = None, self.share, None
        for waiter in self._turns:
            held = self.held.get(waiter.user, 0)
            if held == 0:
                return waiter  # found after at most as many steps as users hold connections
            if held < fewest:
                best, fewest = waiter, held
            elif spare is None and not waiter.capped:
                spare = waiter
        return best or spare

    def expired(self, now: float) -> list[Waiter]:
        """Remove and return the entries whose deadline has passed."""
        late = [waiter for waiter in self._entries() if waiter.deadline <= now]
        for waiter in late:
            self.discard(waiter)
        return late

    def drained(self) -> list[Waiter]:
        """Remove and return every entry."""
        return self.expired(inf)
