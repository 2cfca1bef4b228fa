-- record-rollback: record that a migration was undone. $1: the digest of its name, $2: its name, $3: the host.

with removed as (
    delete from _yoyo_migration
    where migration_hash = $1
)

insert into _yoyo_log (id, migration_hash, migration_id, operation, username, hostname, created_at_utc)
values (gen_random_uuid()::text, $1, $2, 'rollback', current_user, $3, clock_timestamp() at time zone 'utc');
