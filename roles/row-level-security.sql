-- Row-level security: what a statement that forgets its filter finds is still its user's alone.
--
-- Run it as the migrator when every instance has ROW_LEVEL_SECURITY=true: one without sees no tasks from then on.
-- The owner is not bound by it, so that migrations and dumps see everything; nor is the reader.

\ir names.sql
begin;
set local lock_timeout = '2s';

alter table tasks enable row level security;

drop policy if exists task_of_its_user on tasks;
create policy task_of_its_user on tasks to :"application"
-- the setting is empty, and not null, once a transaction that had it is over
using (user_id = nullif(current_setting('task_service.user_id', true), '')::uuid);

drop policy if exists task_of_anyone on tasks;
create policy task_of_anyone on tasks for select to :"reader"
using (true);

commit;
