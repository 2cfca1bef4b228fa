-- list_tasks_updated_desc: one page of a user's tasks, most recently changed first, starting after a given task.
--
--   $1 user_id     uuid         the owner; from the token
--   $2 updated_at  timestamptz  of the last task of the page before; a time after all tasks for the first page
--   $3 id          uuid         of that task
--   $4 completed   bool         only tasks in this state; null for all
--   $5 pattern     text         only tasks with a match in title or description; null for all
--   $6 window      int8         the most tasks to scan
--   $7 size        int8         the most rows to return
--
-- returns many: id uuid, user_id uuid, title text, description text, completed bool,
--   created_at timestamptz, updated_at timestamptz, is_match bool, is_window_end bool
-- index: tasks_by_user_newest
-- budget: none: it reads and sorts all of the user's tasks
--
-- It sorts all of the user's tasks, so its cost grows with their number: an index on updated_at would end HOT updates,
-- and cost every write to spare a rare read. The steps after the sort are bounded: see list_tasks_created_desc.

with scanned as (
    select
        id,
        user_id,
        title,
        description,
        completed,
        created_at,
        updated_at,
        case
            when $5::text is null then 1
            else 1 + least(coalesce(octet_length(description), 0), 4096) / 512
        end as weight
    from tasks
    where user_id = $1 and (updated_at, id) < ($2, $3)
    order by updated_at desc, id desc
    limit $6
),

counted as (
    select
        id,
        user_id,
        title,
        description,
        completed,
        created_at,
        updated_at,
        weight,
        sum(weight) over (order by updated_at desc, id desc rows unbounded preceding) as total_weight
    from scanned
),

filtered as (
    select
        id,
        user_id,
        title,
        description,
        completed,
        created_at,
        updated_at,
        ($4::bool is null or completed = $4)
        and ($5::text is null or title ~ $5 or coalesce(left(description, 4096) ~ $5, false)) as is_match,
        total_weight >= $6 as is_window_end
    from counted
    where total_weight - weight < $6
)

select
    id,
    user_id,
    case when octet_length(description) > 4096 then '' else title end as title,
    case when octet_length(description) <= 4096 then description end as description,
    completed,
    created_at,
    updated_at,
    is_match,
    is_window_end
from filtered
where is_match or is_window_end
order by updated_at desc, id desc
limit $7
