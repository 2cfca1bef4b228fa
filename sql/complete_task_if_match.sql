-- complete_task_if_match: set or flip whether a task is completed, if it has one of the given versions.
--
--   $1 user_id    uuid    the owner; from the token
--   $2 id         uuid    the task
--   $3 versions   text[]  the accepted versions, in decimal
--   $4 completed  bool    null flips it
--
-- returns one: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, version int4
-- index: tasks_by_id
-- budget: 14 buffers, no sort
--
-- No row: the task does not exist. Only nulls: the task has another version. The update checks the version again after
-- it waited for the row's lock, so it overwrites no concurrent edit.

with found as (
    select id
    from tasks
    where user_id = $1 and id = $2
),

changed as (
    update tasks
    set
        completed = coalesce($4, not completed),
        updated_at = greatest(now(), (updated_at at time zone 'UTC' + interval '1 microsecond') at time zone 'UTC'),
        version = version + 1
    where user_id = $1 and id = $2 and version = any($3::text[]::int4[])
    returning
        id,
        user_id,
        title,
        description,
        completed,
        created_at,
        updated_at,
        version
)

select
    changed.id,
    changed.user_id,
    changed.title,
    changed.description,
    changed.completed,
    changed.created_at,
    changed.updated_at,
    changed.version
from found
left join changed on found.id = changed.id
