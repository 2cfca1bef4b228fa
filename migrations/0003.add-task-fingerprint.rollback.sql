-- Not brought back by a later migration: which request made which task. A retry then counts as another request.

set local lock_timeout = '2s';
set local statement_timeout = '5s';

-- squawk-ignore ban-drop-column
alter table tasks drop column fingerprint;
