"""The floor: the cost of a read in uvicorn, asyncpg and PostgreSQL alone.

No routing, no token, no validation: one fetch from asyncpg's pool, which does not reset its connections here.
"""

import os
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from starlette.types import Receive, Scope, Send

GET = """
select id, user_id, title, description, completed, created_at, updated_at
from tasks
where user_id = $1 and id = $2
"""
LIST = """
select id, user_id, title, description, completed, created_at, updated_at
from tasks
where user_id = $1
order by created_at desc, id desc
"""


class Task(msgspec.Struct):
    id: UUID
    user_id: UUID
    title: str
    description: str | None
    completed: bool
    created_at: datetime
    updated_at: datetime


encode = msgspec.json.Encoder().encode


class Floor:
    """An ASGI application for get_task and list_tasks, whose paths differ in length."""

    pool: Any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        path = scope["path"]
        if len(path) == len("/api//tasks/") + 2 * 36:
            row = await self.pool.fetchrow(GET, path[5:41], path[48:])
            body = encode(Task(*row))
        else:
            rows = await self.pool.fetch(LIST, path[5:41])
            body = encode([Task(*row) for row in rows])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Open the pool, and close it at the shutdown."""
        await receive()
        self.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=5, max_size=20, reset=no_reset)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.pool.close()
        await send({"type": "lifespan.shutdown.complete"})


async def no_reset(_: Any) -> None:
    """Replaces the pool's reset of a returned connection, which costs a round trip."""


app = Floor()
