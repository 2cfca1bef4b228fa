"""Users: the row that a user's tasks refer to is created with the first task, from the id in the token."""

from typing import Any

from service.api.endpoint import Request
from service.api.exceptions import problem_for
from service.api.problems import UNKNOWN_USER, Problem
from service.db.statements import Row, Statement

CREATE_USER = Statement("create_user")


async def with_user_created(request: Request, statement: Statement, *arguments: Any) -> Row:
    """Run `statement` and return its row. If the user has no row in `users`, create it and run the statement again.

    Raises Problem(UNKNOWN_USER) if this service does not create users: PROVISION_USERS is off, the role may not insert
    into `users`, or `users` has more required columns than `id`, as the table of an authentication service has.
    """
    database, user_id = request.database, request.user.id
    try:
        return (await database.run(statement, user_id, *arguments))[0]
    except Exception as error:  # the error table knows which exception means an unknown user
        if problem_for(error).type is not UNKNOWN_USER or not request.dependencies.settings.provision_users:
            raise
    try:
        await database.run(CREATE_USER, user_id)
    except Exception as error:  # db/driver.py alone imports asyncpg: here, the SQLSTATE identifies the error
        if getattr(error, "sqlstate", "")[:2] in ("23", "42"):  # a constraint fails, or a grant is missing
            raise Problem(UNKNOWN_USER) from error
        raise
    return (await database.run(statement, user_id, *arguments))[0]
