-- create_task_once: create a task of a user, or return the task that an earlier request with the same key created.
--
--   $1 user_id      uuid  the owner; from the token
--   $2 id           uuid  derived from the user and the key
--   $3 title        text  1 to 500 characters, not blank
--   $4 description  text  null for none
--   $5 completed    bool
--   $6 fingerprint  int8  of the request
--   $7 version      int4  of the new task: random, from 1 to 2^30
--
-- returns one: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, version int4, same bool, created bool
-- index: none: insert
-- budget: 22 buffers, no sort
--
-- `do nothing` would return no row on a conflict, and a select in the same statement would not see a row that a
-- concurrent request has just committed. An update that changes nothing returns the row in every case.
-- The version is random for two reasons. A returned row with this call's version was created by this call. And when the
-- key of a deleted task creates its id again, an ETag of the deleted task does not match the new one.

insert into tasks (id, user_id, title, description, completed, fingerprint, version)
values ($2, $1, $3, $4, $5, $6, $7)
on conflict on constraint tasks_by_id do update
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
    version = $7 as created
