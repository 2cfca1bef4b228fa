-- The fingerprint of the request that made a task: a retry with the same Idempotency-Key can be told from another one.
--
-- Null for a task made without a key, and for all that were there before.
-- depends: 0002.create-tasks

set local lock_timeout = '2s';
set local statement_timeout = '5s';

alter table tasks add column fingerprint bigint;
