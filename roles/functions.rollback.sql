-- Drops the functions of the statements, of all releases. Run it when every instance has ROW_LEVEL_SECURITY=false.

\ir names.sql
begin;

select format('drop function %s', objoid::regprocedure)
from pg_description
where classoid = 'pg_proc'::regclass and description = 'A statement of the task service.'
\gexec

commit;
