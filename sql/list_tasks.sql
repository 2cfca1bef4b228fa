-- list_tasks: the newest of a user's tasks, newest first.
--
--   $1 user_id  uuid  the owner; from the token
--   $2 size     int8  the most rows to return
--
-- returns many: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz
-- index: tasks_by_user_newest
-- budget: 12 buffers and 1 a row, no sort
--
-- A task with a description over 4 KiB is returned without its texts. Its title is '', which no stored title is: the
-- service then reads that task with get_task, so that no page is larger than a few MiB.

select
    id,
    user_id,
    case when octet_length(description) > 4096 then '' else title end as title,
    case when octet_length(description) <= 4096 then description end as description,
    completed,
    created_at,
    updated_at
from tasks
where user_id = $1
order by created_at desc, id desc
limit $2
