-- get_task: one task of a user.
--
--   $1 user_id  uuid  the owner; from the token
--   $2 id       uuid  the task
--
-- returns one: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, version int4
-- index: tasks_by_id
-- budget: 5 buffers, no sort

select
    id,
    user_id,
    title,
    description,
    completed,
    created_at,
    updated_at,
    version
from tasks
where user_id = $1 and id = $2
