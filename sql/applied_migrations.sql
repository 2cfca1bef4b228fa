-- applied_migrations: the migrations that were applied, for the readiness probe. The only statement without a user.
--
-- returns many: migration_id varchar
-- index: none: a handful of rows
-- budget: 1 buffer, no sort

select migration_id
from _yoyo_migration
