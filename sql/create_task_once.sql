-- create_task_once: a new task of a user, or the one that an earlier try with the same key has made.
--
--   $1 user_id      uuid  whose task; from the token
--   $2 id           uuid  derived from the user and the key
--   $3 title        text  1 to 500 characters, not blank
--   $4 description  text  null for none
--   $5 completed    bool
--   $6 fingerprint  int8  of the request
--
-- returns one: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, version int4, same bool, created bool
-- index: none: insert
--
-- Doing nothing on conflict would return no row, and a select beside it would not see what a try at the
-- same moment has just committed. An update that changes nothing returns the row in every case; only one
-- that was inserted here has no xmax, the mark of whoever replaced or locked a row.
-- The version begins with the time's milliseconds: a deleted task's key makes its id anew, and what a caller knows of
-- the old task must not pass for the new one.

insert into tasks (id, user_id, title, description, completed, fingerprint, version)
values ($2, $1, $3, $4, $5, $6, 1 + (extract(epoch from now()) * 1000)::bigint % 1000000000)
on conflict (id) do update
    set fingerprint = tasks.fingerprint
    where tasks.user_id = $1
returning
    id,
    user_id,
    title,
    description,
    completed,
    created_at,
    updated_at,
    version,
    coalesce(fingerprint = $6, false) as same,
    xmax = 0 as created
