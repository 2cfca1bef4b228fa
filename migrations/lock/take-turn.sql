-- A migrator's turn, which it has until this transaction ends: the others wait here. No migration itself.
--
-- A transaction's lock rather than a session's: it ends with a killed migrator, and it holds behind a pooler too.
-- The transaction then idles, however long the migrations take.

set local lock_timeout = '60s';
set local idle_in_transaction_session_timeout = 0;

select pg_advisory_xact_lock(hashtextextended('task service migrations', 0));
