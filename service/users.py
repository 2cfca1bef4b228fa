"""Users, who arrive by token: the row that their tasks refer to is made with their first task."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.endpoint import Request
from service.errors import UNKNOWN_USER, Problem, problem_for
from service.statements import Statement

T = TypeVar("T")

CREATE_USER = Statement("create_user")


async def provisioned(request: Request, attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` returns; when it fails for want of the user's row, makes that and attempts it once more.

    Raises Problem(UNKNOWN_USER) when users are not made here: PROVISION_USERS is off, or the table asks for more
    than an id, as an authentication service's own does.
    """
    try:
        return await attempt()
    except Exception as error:
        if problem_for(error).kind is not UNKNOWN_USER or not request.service.settings.provision_users:
            raise
    try:
        await CREATE_USER.one(request.database, request.user.key)
    except Exception as error:
        if getattr(error, "sqlstate", "")[:2] in ("23", "42"):  # a constraint, or no grant
            raise Problem(UNKNOWN_USER) from error
        raise
    return await attempt()
