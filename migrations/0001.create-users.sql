-- Users: the table that tasks belong to, made only if no other service (authentication, say) has made one here.
--
-- This service's table has a comment that says so. To keep the table at a rollback, replace the comment.

set local lock_timeout = '2s';
set local statement_timeout = '5s';

do $$
begin
    if to_regclass('users') is null then
        create table users (
            id uuid constraint users_by_id primary key
        );
        comment on table users is 'Made by the task service, migration 0001.';
    -- what a foreign key asks of its target: a unique index on that column alone, over all rows, checked at once
    elsif not exists (
        select
        from pg_index
        join pg_attribute on pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = pg_index.indkey[0]
        where pg_index.indrelid = to_regclass('users')
            and pg_index.indisunique
            and pg_index.indisvalid
            and pg_index.indimmediate
            and pg_index.indpred is null
            and pg_index.indnkeyatts = 1
            and pg_attribute.attname = 'id'
            and pg_attribute.atttypid = 'uuid'::regtype
    ) then
        raise exception 'tasks cannot belong to this users table: its id is not a uuid that is primary key or unique'
            using hint = 'Give users such an id, or set a search_path of which no schema has a users table.';
    end if;
end
$$;
