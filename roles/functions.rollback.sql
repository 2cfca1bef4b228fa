-- No functions for the statements, of this release or any other. Run it after ROW_LEVEL_SECURITY=false is everywhere.

\ir names.sql
begin;

select format('drop function %s', objoid::regprocedure)
from pg_description
where classoid = 'pg_proc'::regclass and description = 'A statement of the task service.'
\gexec

commit;
