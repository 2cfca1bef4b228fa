-- Disables row-level security. Run it before you deploy with ROW_LEVEL_SECURITY=false.

\ir names.sql
begin;
set local lock_timeout = '2s';

drop policy task_of_anyone on tasks;
drop policy task_of_its_user on tasks;
alter table tasks disable row level security;

commit;
