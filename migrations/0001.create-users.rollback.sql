-- Users: dropped if migration 0001 made the table; what another service made stays as it is.
--
-- Cannot be brought back: the users' ids. Each comes again with its user's next first task,
-- or never if PROVISION_USERS is off. Keep them first, and bring them back before the tasks:
--   pg_dump --data-only --table=users --file=users.sql
--   psql --single-transaction --set=ON_ERROR_STOP=1 --file=users.sql

set local lock_timeout = '2s';
set local statement_timeout = '5s';

do $$
begin
    if obj_description(to_regclass('users'), 'pg_class') = 'Made by the task service, migration 0001.' then
        drop table users;
    end if;
end
$$;
