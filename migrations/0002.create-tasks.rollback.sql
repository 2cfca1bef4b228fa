-- Tasks: dropped with their index, for a release that does not know them.
--
-- Cannot be brought back: every task of every user. Keep them first with pg_dump --table=tasks.

set local lock_timeout = '2s';
set local statement_timeout = '5s';

-- squawk-ignore ban-drop-table
drop table tasks;
-- squawk-ignore ban-drop-domain
drop domain if exists task_time;
