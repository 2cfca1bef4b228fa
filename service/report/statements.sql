-- statements: what pg_stat_statements has of this database, by text.
select
    query,
    sum(calls)::bigint as calls,
    sum(total_exec_time)::float as milliseconds,
    sum(rows)::bigint as row_count,
    sum(shared_blks_hit + shared_blks_read)::bigint as buffers,
    sum(wal_bytes)::bigint as wal_bytes
from pg_stat_statements
-- toplevel: the call of a function has the costs of the statements inside it
where toplevel and dbid = (select oid from pg_database where datname = current_database())
group by query
