-- Enables row-level security: even a statement without its filter finds only the rows of its user.
--
-- Run it as the migrator when every instance has ROW_LEVEL_SECURITY=true: an instance without it finds no tasks
-- afterwards. The policy does not restrict the owner (migrations and dumps read all rows) or the reader.

\ir names.sql
begin;
set local lock_timeout = '2s';

alter table tasks enable row level security;

drop policy if exists task_of_its_user on tasks;
create policy task_of_its_user on tasks to :"application"
-- after the first transaction that sets it, the setting is empty instead of null
using (user_id = nullif(current_setting('task_service.user_id', true), '')::uuid);

drop policy if exists task_of_anyone on tasks;
create policy task_of_anyone on tasks for select to :"reader"
using (true);

commit;
