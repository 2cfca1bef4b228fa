"""Users: the row that a user's tasks refer to is created with the first task, from the id in the token."""

from service.api.endpoint import Request
from service.api.exceptions import problem_for
from service.api.problems import UNKNOWN_USER, Problem
from service.db.statements import Statement

CREATE_USER = Statement("create_user")


def must_create_user(request: Request, error: Exception) -> bool:
    """Whether a statement failed because the user has no row in `users`, and PROVISION_USERS is on."""
    return problem_for(error).type is UNKNOWN_USER and request.dependencies.settings.provision_users


async def create_user(request: Request) -> None:
    """Create the row of the request's user.

    Raises Problem(UNKNOWN_USER) if the role may not insert into `users`, or if `users` has more required columns than
    `id`, as the table of an authentication service has.
    """
    try:
        await request.database.run(CREATE_USER, request.user.id)
    except Exception as error:  # db/driver.py alone imports asyncpg: here, the SQLSTATE identifies the error
        if getattr(error, "sqlstate", "")[:2] in ("23", "42"):  # a constraint fails, or a grant is missing
            raise Problem(UNKNOWN_USER) from error
        raise
