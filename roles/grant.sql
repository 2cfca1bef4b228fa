-- What the application and the reader may do: what the statements of sql/ need, and no more.
--
-- Run it as the migrator after each migration. It takes back what an earlier release was granted.

\ir names.sql
begin;

revoke all on tasks, _yoyo_migration from :"application", :"reader";

grant select, delete on tasks to :"application";
grant insert (id, user_id, title, description, completed, fingerprint, version) on tasks to :"application";
grant update (title, description, completed, updated_at, version, fingerprint) on tasks to :"application";
grant select on _yoyo_migration to :"application"; -- for /readyz
grant select on tasks, _yoyo_migration to :"reader";

-- The users of another service are its own to grant. Without these, set PROVISION_USERS=false.
select pg_has_role(relowner, 'usage') as ours
from pg_class
where oid = 'users'::regclass
\gset
\if :ours
    revoke all on users from :"application", :"reader";
    grant select (id), insert (id) on users to :"application";
    grant select (id) on users to :"reader";
\endif

commit;
