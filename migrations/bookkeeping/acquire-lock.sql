-- acquire-lock: let one migrator run at a time. Not a migration.
--
-- The lock belongs to a transaction, not to a session: it ends with a killed migrator, and it holds behind a pooler.
-- The transaction is then idle for as long as the migrations take.

set local lock_timeout = '60s';
set local idle_in_transaction_session_timeout = 0;

select pg_advisory_xact_lock(hashtextextended('task service migrations', 0));
