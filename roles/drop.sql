-- The end of the roles. All that they own goes to whoever runs this, an administrator: no table and no row is lost.
--
-- Run it in every database where they own or were granted something. Only the last run can drop the roles themselves.

\ir names.sql

select format('reassign owned by %I to current_user', rolname), format('drop owned by %I', rolname)
from pg_roles
where rolname in (:'owner', :'migrator', :'application', :'reader')
\gexec
drop role if exists :"migrator", :"application", :"reader", :"owner";
