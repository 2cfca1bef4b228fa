"""The comparison: the same six endpoints with FastAPI, SQLModel, SQLAlchemy and PyJWT, on the same tables.

It follows their manuals, and runs in a separate virtual environment: requirements/bench.txt.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

import jwt
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import DateTime, func
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:", 1),
    pool_size=int(os.environ["POOL_SIZE"]),
    max_overflow=20 - int(os.environ["POOL_SIZE"]),
    pool_pre_ping=bool(os.environ["POOL_PRE_PING"]),
)


def now() -> datetime:
    return datetime.now(UTC)


class TaskWrite(SQLModel):
    title: str = Field(min_length=1, max_length=500)
    description: str | None = None


class TaskRead(TaskWrite):
    id: UUID
    user_id: UUID
    completed: bool
    created_at: datetime
    updated_at: datetime


class User(SQLModel, table=True):
    __tablename__ = "users"

    id: UUID = Field(default_factory=uuid4, primary_key=True)


class Task(TaskWrite, table=True):
    __tablename__ = "tasks"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    user_id: UUID = Field(foreign_key="users.id", index=True)
    completed: bool = False
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(
        default_factory=now, sa_type=DateTime(timezone=True), sa_column_kwargs={"onupdate": func.now()}
    )


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]
Credentials = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


async def get_current_user(user_id: UUID, credentials: Credentials) -> UUID:
    try:
        claims = jwt.decode(
            credentials.credentials,
            os.environ["JWT_SECRET"],
            algorithms=["HS256"],
            options={"require": ["exp", "sub"]},
        )
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Invalid token", {"WWW-Authenticate": "Bearer"}) from None
    if claims["sub"] != str(user_id):
        raise HTTPException(403, "Access denied")
    return user_id


CurrentUser = Annotated[UUID, Depends(get_current_user)]


async def get_own_task(task_id: UUID, user: CurrentUser, session: Session) -> Task:
    task: Task | None = (await session.exec(select(Task).where(Task.id == task_id, Task.user_id == user))).one_or_none()
    if task is None:
        raise HTTPException(404, "Task not found")
    return task


OwnTask = Annotated[Task, Depends(get_own_task)]
router = APIRouter(prefix="/api/{user_id}/tasks")


@router.get("", response_model=list[TaskRead])
async def list_tasks(user: CurrentUser, session: Session) -> Sequence[Task]:
    newest_first = col(Task.created_at).desc(), col(Task.id).desc()
    return (await session.exec(select(Task).where(Task.user_id == user).order_by(*newest_first))).all()


@router.post("", response_model=TaskRead, status_code=201)
async def create_task(body: TaskWrite, user: CurrentUser, session: Session) -> Task:
    task = Task(user_id=user, title=body.title, description=body.description)
    session.add(task)
    await session.commit()
    return task


@router.get("/{task_id}", response_model=TaskRead)
async def get_task(task: OwnTask) -> Task:
    return task


@router.put("/{task_id}", response_model=TaskRead)
async def update_task(body: TaskWrite, task: OwnTask, session: Session) -> Task:
    task.title = body.title
    task.description = body.description
    await session.commit()
    await session.refresh(task)
    return task


@router.patch("/{task_id}/complete", response_model=TaskRead)
async def complete_task(task: OwnTask, session: Session) -> Task:
    task.completed = not task.completed
    await session.commit()
    await session.refresh(task)
    return task


@router.delete("/{task_id}", status_code=204)
async def delete_task(task: OwnTask, session: Session) -> None:
    await session.delete(task)
    await session.commit()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
app.include_router(router)
