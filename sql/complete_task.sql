-- complete_task: set or flip whether one task of a user is completed.
--
--   $1 user_id    uuid  the owner; from the token
--   $2 id         uuid  the task
--   $3 completed  bool  null flips it
--
-- returns one: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, version int4
-- index: tasks_by_id
-- budget: 9 buffers, no sort

update tasks
set
    completed = coalesce($3, not completed),
    updated_at = greatest(now(), (updated_at at time zone 'UTC' + interval '1 microsecond') at time zone 'UTC'),
    version = version + 1
where user_id = $1 and id = $2
returning
    id,
    user_id,
    title,
    description,
    completed,
    created_at,
    updated_at,
    version
