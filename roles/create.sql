-- Creates four roles for one database: owner of the tables, migrator, application and reader. May be run again.
--
-- Run it as an administrator, before the first migration or later, and then give the last three roles a password.
-- It revokes two rights from `public`, that is from every role: to create tables in the schema, and temporary tables in
-- the database. Grant these rights to the other roles of this database that need them.

\ir names.sql
begin;

select format('create role %I', name)
from unnest(array[:'owner', :'migrator', :'application', :'reader']) as name
where name not in (select rolname from pg_roles)
\gexec
alter role :"migrator" login;
alter role :"application" login;
alter role :"reader" login;

-- The migrator acts as the owner, so that its tables belong to the owner, and another role can migrate later.
grant :"owner" to :"migrator";
alter role :"migrator" in database :"DBNAME" set role to :'owner';

select current_schema() as schema
\gset
revoke temporary on database :"DBNAME" from public;
revoke create on schema :"schema" from public;
grant connect on database :"DBNAME" to :"migrator", :"application", :"reader";
grant usage on schema :"schema" to :"owner", :"application", :"reader";
grant create on schema :"schema" to :"owner";

-- The roles find the service's tables and functions in this schema alone, whatever the defaults of the database are.
-- Temporary tables come last: named nowhere, pg_temp is searched first.
select format('alter role %I in database %I set search_path to %I, pg_temp', name, :'DBNAME', :'schema')
from unnest(array[:'migrator', :'application', :'reader']) as name
\gexec

-- Just below STATEMENT_TIMEOUT of the service, 2 s: the server then cancels a slow write, and rolls it back, before the
-- service gives up and has to answer that the outcome is unknown.
alter role :"application" in database :"DBNAME" set lock_timeout to '1500ms';
alter role :"application" in database :"DBNAME" set statement_timeout to '1800ms';
alter role :"application" in database :"DBNAME" set idle_in_transaction_session_timeout to '5s';

-- Each statement then has the plan that its header in sql/ names, from the first run on. A custom plan may sort all
-- tasks of a user, if the statistics say that there are few.
alter role :"application" in database :"DBNAME" set plan_cache_mode to 'force_generic_plan';

-- No statement_timeout: each migration sets its own.
alter role :"migrator" in database :"DBNAME" set lock_timeout to '2s';
alter role :"migrator" in database :"DBNAME" set idle_in_transaction_session_timeout to '5min';

alter role :"reader" in database :"DBNAME" set default_transaction_read_only to on;
alter role :"reader" in database :"DBNAME" set lock_timeout to '1s';
alter role :"reader" in database :"DBNAME" set statement_timeout to '30s';
alter role :"reader" in database :"DBNAME" set idle_in_transaction_session_timeout to '1min';

-- Give tables that are older than the roles to the owner, and the domain of their times. Only a member of the owner role may do that.
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
select format('alter domain %s owner to %I', oid::regtype, :'owner')
from pg_type
where typnamespace = current_schema()::regnamespace and typname = 'task_time' and typtype = 'd'
\gexec

commit;
