-- create_task: create a task of a user. The constraint task_belongs_to_user refuses an unknown user.
--
--   $1 user_id      uuid  the owner; from the token
--   $2 title        text  1 to 500 characters, not blank
--   $3 description  text  null for none
--   $4 completed    bool
--
-- returns one: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz
-- index: none: insert
-- budget: 16 buffers, no sort

insert into tasks (user_id, title, description, completed)
values ($1, $2, $3, $4)
returning
    id,
    user_id,
    title,
    description,
    completed,
    created_at,
    updated_at
