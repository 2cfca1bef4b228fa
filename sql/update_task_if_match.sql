-- update_task_if_match: new texts for one task of a user, if it is at one of the given versions.
--
--   $1 user_id          uuid    whose task; from the token
--   $2 id               uuid    which task
--   $3 versions         text[]  any of these will do, numbers in decimal
--   $4 title            text    null keeps the present one
--   $5 set_description  bool    false keeps the present one
--   $6 description      text    null clears it
--
-- returns one: task_id uuid, id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, version int4
-- index: tasks_by_id
-- budget: 14 buffers, no sort
--
-- No row: there is no such task. A row of nulls but for task_id: it is at another version. The update
-- looks at the version once more when it has waited for the row's lock, so no edit between is lost.

with found as (
    select id
    from tasks
    where user_id = $1 and id = $2
),

changed as (
    update tasks
    set
        title = coalesce($4, title),
        description = case when $5 then $6 else description end,
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
    found.id as task_id,
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
