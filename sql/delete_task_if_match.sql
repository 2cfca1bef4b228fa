-- delete_task_if_match: one task of a user, gone, if it is at one of the given versions.
--
--   $1 user_id   uuid    whose task; from the token
--   $2 id        uuid    which task
--   $3 versions  text[]  any of these will do, numbers in decimal
--
-- returns one: task_id uuid, id uuid
-- index: tasks_by_id
-- budget: 13 buffers, no sort
--
-- No row: there is no such task. A null id: it is at another version, and still there.

with found as (
    select id
    from tasks
    where user_id = $1 and id = $2
),

gone as (
    delete from tasks
    where user_id = $1 and id = $2 and version = any($3::text[]::int4[])
    returning id
)

select
    found.id as task_id,
    gone.id
from found
left join gone on found.id = gone.id
