-- create_user: the row that a user's tasks refer to, unless it is there.
--
--   $1 user_id  uuid  who; from the token
--
-- returns one: id uuid
-- index: none: insert
-- budget: 10 buffers, no sort

insert into users (id)
values ($1)
on conflict do nothing
returning id
