-- delete_task: delete one task of a user.
--
--   $1 user_id  uuid  the owner; from the token
--   $2 id       uuid  the task
--
-- returns one: id uuid
-- index: tasks_by_id
-- budget: 8 buffers, no sort

delete from tasks
where user_id = $1 and id = $2
returning id
