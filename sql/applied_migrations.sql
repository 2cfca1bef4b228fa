-- applied_migrations: what the readiness probe asks, the one statement that is no user's.
--
-- returns many: migration_id varchar
-- index: none: a handful of rows
-- budget: 1 buffer, no sort

select migration_id
from _yoyo_migration
