-- Drops the roles. The administrator who runs this script becomes the owner of their tables: no row is lost.
--
-- Run it in every database in which the roles own or were granted anything. Only the last run can drop the roles.

\ir names.sql

select format('reassign owned by %I to current_user', rolname), format('drop owned by %I', rolname)
from pg_roles
where rolname in (:'owner', :'migrator', :'application', :'reader')
\gexec
drop role if exists :"migrator", :"application", :"reader", :"owner";
