-- begin: bound the report's statements, which must not wait for the locks that they report.
set local lock_timeout = '100ms';
set local statement_timeout = '10s';
