"""Users, who arrive by token: the row that their tasks refer to is made with their first task."""

from typing import Any

from service.api.endpoint import Request
from service.api.problems import UNKNOWN_USER, Problem, problem_for
from service.db.statements import Row, Statement

CREATE_USER = Statement("create_user")


async def with_user_created(request: Request, statement: Statement, *arguments: Any) -> Row:
    """The row that `statement` gives; when it fails for want of the user's own, makes that and runs it once more.

    Raises Problem(UNKNOWN_USER) when users are not made here: PROVISION_USERS is off, or the table asks for more
    than an id, as an authentication service's own does.
    """
    database, user_id = request.database, request.user.id
    try:
        return (await database.run(statement, user_id, *arguments))[0]
    except Exception as error:  # the error table knows which of all kinds means an unknown user; the others go on
        if problem_for(error).type is not UNKNOWN_USER or not request.dependencies.settings.provision_users:
            raise
    try:
        await database.run(CREATE_USER, user_id)
    except Exception as error:  # asyncpg is imported by lanes.py alone: here its errors are told by their SQLSTATE
        if getattr(error, "sqlstate", "")[:2] in ("23", "42"):  # a constraint, or no grant
            raise Problem(UNKNOWN_USER) from error
        raise
    return (await database.run(statement, user_id, *arguments))[0]
