-- list_tasks_after: the next of a user's tasks, newest first, after the last one seen.
--
--   $1 user_id     uuid         whose tasks; from the token
--   $2 created_at  timestamptz  of the last task seen
--   $3 id          uuid         of the last task seen
--   $4 size        int8         how many at most
--
-- returns many: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz
-- index: tasks_by_user_newest

select
    id,
    user_id,
    title,
    description,
    completed,
    created_at,
    updated_at
from tasks
where user_id = $1 and (created_at, id) < ($2, $3)
order by created_at desc, id desc
limit $4
