-- update_task: change the title and description of one task of a user.
--
--   $1 user_id          uuid  the owner; from the token
--   $2 id               uuid  the task
--   $3 title            text  null keeps the present one
--   $4 set_description  bool  false keeps the present one
--   $5 description      text  null clears it
--
-- returns one: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, version int4
-- index: tasks_by_id
-- budget: 9 buffers, no sort
--
-- updated_at always moves forward: now() is the transaction's start, so without `greatest` a writer that waited for
-- the row lock could set it back. The addition is made in UTC because `timestamptz + interval` depends on the
-- session's time zone: it is STABLE, and an update of a distributed table applies only IMMUTABLE functions to columns.

update tasks
set
    title = coalesce($3, title),
    description = case when $4 then $5 else description end,
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
