-- locks: locks that are held or waited for now on the service's tables and their rows (tuple), and the sessions
-- that block.
select
    pg_locks.relation::regclass::text as name,
    pg_locks.mode || case pg_locks.locktype when 'relation' then '' else ' (' || pg_locks.locktype || ')' end as mode,
    pg_locks.granted,
    pg_locks.pid,
    pg_stat_activity.application_name as program,
    coalesce(extract(epoch from now() - pg_stat_activity.xact_start), 0)::float as seconds,
    pg_blocking_pids(pg_locks.pid) as blocked_by
from pg_locks
join pg_stat_activity on pg_stat_activity.pid = pg_locks.pid
where pg_locks.database = (select oid from pg_database where datname = current_database())
    and pg_locks.relation in (to_regclass('tasks'), to_regclass('users'))
    and pg_locks.pid <> pg_backend_pid()
order by pg_locks.granted, seconds desc
