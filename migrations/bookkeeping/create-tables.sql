-- create-tables: the tables that record which migrations ran, unless they exist. Not a migration.
--
-- Names and columns are those of yoyo 6 and later (its schema version 2), so that its command line can read them.

do $$
begin
    if to_regclass('_yoyo_migration') is null then
        create table _yoyo_migration (
            migration_hash varchar(64) primary key,
            migration_id varchar(255),
            applied_at_utc timestamp
        );
        create table if not exists _yoyo_log (
            id varchar(36) primary key,
            migration_hash varchar(64),
            migration_id varchar(255),
            operation varchar(10),
            username varchar(255),
            hostname varchar(255),
            comment varchar(255),
            created_at_utc timestamp
        );
        create table if not exists _yoyo_version (
            version int primary key,
            installed_at_utc timestamp
        );
        insert into _yoyo_version values (2, clock_timestamp() at time zone 'utc') on conflict do nothing;
    end if;
end
$$;
