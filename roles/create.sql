-- Four roles for one database: who owns the tables, who migrates, who serves, who reads. May be run again.
--
-- Run it as an administrator, before the first migration or later, and then give the last three a password each.
-- It takes from `public`, that is from every role, what least privilege cannot leave: creating tables in the schema,
-- and temporary ones in the database. Grant those to whoever else needs them here.

\ir names.sql
begin;

select format('create role %I', name)
from unnest(array[:'owner', :'migrator', :'application', :'reader']) as name
where name not in (select rolname from pg_roles)
\gexec
alter role :"migrator" login;
alter role :"application" login;
alter role :"reader" login;

-- What the migrator makes belongs to the owner, whoever migrates next.
grant :"owner" to :"migrator";
alter role :"migrator" in database :"DBNAME" set role to :'owner';

select current_schema() as schema
\gset
revoke temporary on database :"DBNAME" from public;
revoke create on schema :"schema" from public;
grant connect on database :"DBNAME" to :"migrator", :"application", :"reader";
grant usage on schema :"schema" to :"owner", :"application", :"reader";
grant create on schema :"schema" to :"owner";

-- Just below the service's own STATEMENT_TIMEOUT of 2 s: the server's refusal of a write, after which nothing
-- of it remains, then comes before the service has to answer that it does not know.
alter role :"application" in database :"DBNAME" set lock_timeout to '1500ms';
alter role :"application" in database :"DBNAME" set statement_timeout to '1800ms';
alter role :"application" in database :"DBNAME" set idle_in_transaction_session_timeout to '5s';

-- The plan of each statement is then the one that its header in sql/ names, from the first run on. A plan for one user
-- may sort all of that user's tasks, if the statistics say that there are few.
alter role :"application" in database :"DBNAME" set plan_cache_mode to 'force_generic_plan';

-- The migrations bound their statements themselves.
alter role :"migrator" in database :"DBNAME" set lock_timeout to '2s';
alter role :"migrator" in database :"DBNAME" set idle_in_transaction_session_timeout to '5min';

alter role :"reader" in database :"DBNAME" set default_transaction_read_only to on;
alter role :"reader" in database :"DBNAME" set lock_timeout to '1s';
alter role :"reader" in database :"DBNAME" set statement_timeout to '30s';
alter role :"reader" in database :"DBNAME" set idle_in_transaction_session_timeout to '1min';

-- Tables that were made before there were roles. Only a member of the owner may give it something.
select format('grant %I to current_user', :'owner')
where not pg_has_role(:'owner', 'member')
\gexec
select format('alter table %s owner to %I', tables.oid::regclass, :'owner')
from pg_class as tables
where tables.relnamespace = current_schema()::regnamespace
    and tables.relkind = 'r'
    and (
        tables.relname in ('tasks', '_yoyo_migration', '_yoyo_log', '_yoyo_version')
        or (
            tables.relname = 'users'
            and obj_description(tables.oid, 'pg_class') = 'Made by the task service, migration 0001.'
        )
    )
\gexec

commit;
