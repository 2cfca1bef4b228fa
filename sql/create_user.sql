-- create_user: create the row that a user's tasks refer to, unless it exists.
--
--   $1 user_id  uuid  the user; from the token
--
-- returns one: id uuid
-- index: none: insert
-- budget: 10 buffers, no sort

insert into users (id)
values ($1)
on conflict do nothing
returning id
