-- delete_task: one task of a user, gone.
--
--   $1 user_id  uuid  whose task; from the token
--   $2 id       uuid  which task
--
-- returns one: id uuid
-- index: tasks_by_id
-- budget: 8 buffers, no sort

delete from tasks
where user_id = $1 and id = $2
returning id
