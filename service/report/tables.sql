-- tables: size, dead rows, HOT updates, vacuum and transaction age of the service's tables.
select
    tables.relname as name,
    -- -1 until the first vacuum or analyze
    case when tables.reltuples < 0 then activity.n_live_tup else tables.reltuples::bigint end as row_count,
    pg_total_relation_size(tables.oid) as total_bytes,
    pg_relation_size(tables.oid) as table_bytes,
    pg_indexes_size(tables.oid) as index_bytes,
    activity.n_dead_tup as dead_rows,
    activity.n_tup_upd as updates,
    activity.n_tup_hot_upd as hot_updates,
    activity.last_autovacuum,
    activity.last_autoanalyze,
    age(tables.relfrozenxid) as transaction_age,
    -- an update is HOT only if no index has a column that it changes
    (
        select coalesce(string_agg(distinct pg_index.indexrelid::regclass::text, ', '), '')
        from pg_index
        join pg_attribute on pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = any(pg_index.indkey)
        where pg_index.indrelid = tables.oid
            and pg_attribute.attname in ('title', 'description', 'completed', 'updated_at', 'version')
    ) as indexes_against_hot
from pg_class as tables
join pg_stat_user_tables as activity on activity.relid = tables.oid
where tables.oid in (to_regclass('tasks'), to_regclass('users'))
order by total_bytes desc
