-- copy-tasks: copy the tasks of another program's table into `tasks`, in one transaction. Not a migration.
--
--   psql "$DATABASE_URL" -v old=old_tasks -v zone=UTC -f examples/moving/copy-tasks.sql
--
-- `old` is a table with the columns id, user_id, title, description, completed, created_at and updated_at. Ids that are
-- not UUIDs get a UUID made of the old id. A timestamp without a time zone is read in `zone`. Run again, it copies only
-- the tasks that are missing.

\set ON_ERROR_STOP on
\if :{?old} \else \set old old_tasks \endif
\if :{?zone} \else \set zone UTC \endif

begin;
set local timezone = :'zone';

create temporary table task_copy on commit drop as
select
    case
        when id::text ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then id::text::uuid
        else md5('tasks/' || id::text)::uuid
    end as id,
    user_id::text::uuid as user_id,
    title,
    description,
    completed,
    created_at::timestamptz as created_at,
    coalesce(updated_at, created_at)::timestamptz as updated_at
from :old;

do $$
declare
    unfit text;
begin
    select concat_ws(', ',
        case when count(*) filter (where title is null or char_length(title) not between 1 and 500) > 0
            then count(*) filter (where title is null or char_length(title) not between 1 and 500)
                || ' with a title of 0 or more than 500 characters' end,
        case when count(*) filter (where btrim(title, e' \t\n\x0b\f\r\x1c\x1d\x1e\x1f') = '') > 0
            then count(*) filter (where btrim(title, e' \t\n\x0b\f\r\x1c\x1d\x1e\x1f') = '') || ' with a blank title' end,
        case when count(*) filter (where completed is null) > 0
            then count(*) filter (where completed is null) || ' with completed null' end,
        case when count(*) filter (where fits is not true) > 0
            then count(*) filter (where fits is not true) || ' with a timestamp that is null or not in the years 1 to 9999' end
    )
    into unfit
    from (
        select
            *,
            created_at >= '0001-01-01 00:00Z' and created_at < '10000-01-01 00:00Z'
            and updated_at >= '0001-01-01 00:00Z' and updated_at < '10000-01-01 00:00Z' as fits
        from task_copy
    ) as checked;
    if unfit <> '' then
        raise exception 'tasks do not fit: %', unfit using hint = 'Change them in the old table, and run this again.';
    end if;

    if obj_description('users'::regclass, 'pg_class') = 'Made by the task service, migration 0001.' then
        insert into users (id) select distinct user_id from task_copy on conflict do nothing;
    elsif exists (select from task_copy where not exists (select from users where users.id = task_copy.user_id)) then
        raise exception 'tasks do not fit: some belong to a user who has no row in users'
            using hint = 'Add these users, or delete their tasks from the old table, and run this again.';
    end if;
end
$$;

with copied as (
    insert into tasks (id, user_id, title, description, completed, created_at, updated_at)
    select id, user_id, title, description, completed, created_at, updated_at
    from task_copy
    on conflict on constraint tasks_by_id do nothing
    returning 1
)

select
    (select count(*) from task_copy) as old_tasks,
    (select count(*) from copied) as copied;

commit;

analyze tasks;
