-- list_tasks_updated_desc: some of a user's tasks, the last changed first, from a place in that order on.
--
--   $1 user_id     uuid         whose tasks; from the token
--   $2 updated_at  timestamptz  of the last task seen; a time after all for the first page
--   $3 id          uuid         of the last task seen
--   $4 completed   bool         only those; null for all
--   $5 text        text         only those with it in title or description, in any case; null for all
--   $6 size        int8         how many at most
--
-- returns many: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz
-- index: tasks_by_user_newest, then a sort
--
-- The user's tasks are sorted here: an index on updated_at would end HOT updates, and
-- cost every write to spare a rare read.
-- A task of more than 4 KiB comes without its texts: see list_tasks.

select
    id,
    user_id,
    case when octet_length(description) > 4096 then '' else title end as title,
    case when octet_length(description) <= 4096 then description end as description,
    completed,
    created_at,
    updated_at
from tasks
where
    user_id = $1
    and (updated_at, id) < ($2, $3)
    and ($4::bool is null or completed = $4)
    and (
        $5::text is null
        or strpos(lower(title), lower($5)) > 0
        or strpos(lower(description), lower($5)) > 0
    )
order by updated_at desc, id desc
limit $6
