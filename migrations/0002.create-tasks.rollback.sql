-- Tasks: dropped with their index, for a release that does not know them.
--
-- Cannot be brought back: every task of every user. Keep them first:
--   pg_dump --data-only --table=tasks --file=tasks.sql
-- and after the next migrate, and after the users if they were dropped too:
--   psql --single-transaction --set=ON_ERROR_STOP=1 --file=tasks.sql
-- Grants and policies on the table go with it: run the scripts of roles/ again that were run before.

set local lock_timeout = '2s';
set local statement_timeout = '5s';

-- squawk-ignore ban-drop-table
drop table tasks;

do $$
begin
    drop domain if exists task_time;
exception
    when dependent_objects_still_exist then
        raise notice 'the domain task_time stays: a function of roles/functions.sql, or a copy of the table, uses it';
end
$$;
