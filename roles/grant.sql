-- Grants the application and the reader the rights that the statements of sql/ need, and no more.
--
-- Run it as the migrator after each migration. It revokes the rights that an earlier release had.

\ir names.sql
begin;

revoke all on tasks, _yoyo_migration from :"application", :"reader";

grant select, delete on tasks to :"application";
grant insert (id, user_id, title, description, completed, fingerprint, version) on tasks to :"application";
grant update (title, description, completed, updated_at, version, fingerprint) on tasks to :"application";
grant select on _yoyo_migration to :"application"; -- for /readyz
grant select on tasks, _yoyo_migration to :"reader";

-- If another service owns `users`, only that service can grant rights on it: without them, set PROVISION_USERS=false.
select pg_has_role(relowner, 'usage') as is_owner
from pg_class
where oid = 'users'::regclass
\gset
\if :is_owner
    revoke all on users from :"application", :"reader";
    grant select (id), insert (id) on users to :"application";
    grant select (id) on users to :"reader";
\endif

commit;
