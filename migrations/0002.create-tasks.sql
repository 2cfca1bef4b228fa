-- Tasks: what each user wants done, in a table that refuses by itself what the API refuses, listed by one index.
--
-- No cascade: a user who has tasks cannot be deleted.
-- No trigger: every update statement sets updated_at and version itself.
-- depends: 0001.create-users

set local lock_timeout = '2s';
set local statement_timeout = '5s';

-- What RFC 3339 and the clients' date types can hold: years of four digits, and no infinity. Without this, one task
-- that another writer gave such a time would make its user's whole list unreadable.
--
-- A domain, because PostgreSQL parses the checks of a table again for each statement that writes to it (ExecRelCheck
-- in its execMain.c), and those of a domain once in a session: `python -m bench.constraints` prints what each costs.
-- The title has checks of the table all the same: its rules may change one day, and to validate a domain's check stops
-- all writes.
do $$
begin
    if to_regtype('task_time') is null then -- a rollback leaves it to what else uses it
        create domain task_time as timestamptz constraint task_times_have_four_digit_years check (
            value >= '0001-01-01 00:00:00+00' and value < '10000-01-01 00:00:00+00'
        );
    elsif not exists (
        select
        from pg_type
        join pg_constraint on pg_constraint.contypid = pg_type.oid
        where pg_type.oid = to_regtype('task_time')
            and pg_type.typbasetype = 'timestamptz'::regtype
            and pg_constraint.conname = 'task_times_have_four_digit_years'
    ) then
        raise exception 'there is a type task_time already, which this service did not make'
            using hint = 'Rename it, or give the role of DATABASE_URL a search_path with a schema of this service''s own.';
    end if;
end
$$;

create table tasks (
    -- Random (version 4), or derived by SHA-1 from the user and an Idempotency-Key (version 5): 122 bits, so an id is
    -- unique among all users' tasks without an index that says so. No statement relies on that: each asks for a
    -- user's id and a task's id together, which the key makes unique.
    id uuid default gen_random_uuid(),
    user_id uuid constraint task_belongs_to_user references users (id),
    title text not null,
    description text,
    completed boolean not null default false,
    created_at task_time not null default now(),
    updated_at task_time not null default now(),
    -- two billion edits of one task are enough
    -- squawk-ignore prefer-bigint-over-int
    version integer not null default 1,
    -- Every unique key begins with user_id, so the table can be distributed by it (see distributed/).
    constraint tasks_by_id primary key (user_id, id),
    constraint task_title_length check (char_length(title) <= 500),
    -- Weaker than the API, to which all Unicode white space is blank: this is the ASCII part of that, the same in
    -- every encoding and locale. It must never grow beyond it, or it would refuse what the API accepts.
    constraint task_title_not_blank check (btrim(title, e' \t\n\x0b\f\r\x1c\x1d\x1e\x1f') <> '')
) with (
    fillfactor = 90, -- room for a row's new version on the same page: such an update (HOT) writes to no index
    -- Autovacuum begins at 2 % of the rows, not at 20 %: with ten million tasks the default waits for two million dead
    -- rows, or two million new ones, and then works for minutes. Small tables keep the defaults' thresholds.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02
);

comment on column tasks.version is 'Counts the edits: every update adds one, for conditional requests.';

-- Ascending: PostgreSQL reads it backwards for newest first. Nothing in it ever changes, as HOT needs.
create index tasks_by_user_newest on tasks (user_id, created_at, id);
