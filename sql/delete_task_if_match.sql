-- delete_task_if_match: delete one task of a user, if it has one of the given versions.
--
--   $1 user_id   uuid    the owner; from the token
--   $2 id        uuid    the task
--   $3 versions  text[]  the accepted versions, in decimal
--
-- returns one: id uuid
-- index: tasks_by_id
-- budget: 13 buffers, no sort
--
-- No row: the task does not exist. A null id: the task has another version, and is not deleted.

with found as (
    select id
    from tasks
    where user_id = $1 and id = $2
),

deleted as (
    delete from tasks
    where user_id = $1 and id = $2 and version = any($3::text[]::int4[])
    returning id
)

select deleted.id
from found
left join deleted on found.id = deleted.id
