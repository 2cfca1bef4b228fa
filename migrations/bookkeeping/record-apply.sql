-- record-apply: record that a migration was applied. $1: the digest of its name, $2: its name, $3: the host.

with recorded as (
    insert into _yoyo_migration (migration_hash, migration_id, applied_at_utc)
    values ($1, $2, clock_timestamp() at time zone 'utc')
)

insert into _yoyo_log (id, migration_hash, migration_id, operation, username, hostname, created_at_utc)
values (gen_random_uuid()::text, $1, $2, 'apply', current_user, $3, clock_timestamp() at time zone 'utc');
