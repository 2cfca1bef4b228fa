-- connections: the sessions of this database by program and state, with the oldest transaction in seconds.
-- A role without pg_read_all_stats sees the programs of other roles only.
select
    application_name as program,
    coalesce(state, backend_type, 'hidden') as state,
    count(*) as connections,
    coalesce(extract(epoch from max(now() - xact_start)), 0)::float as oldest_transaction
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
group by application_name, coalesce(state, backend_type, 'hidden')
order by connections desc
