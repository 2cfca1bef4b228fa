-- Creates a function for each statement of sql/. It sets the user for row-level security, then runs the statement.
--
-- Run it as the migrator, in the folder above this one, before each release that runs with ROW_LEVEL_SECURITY=true. A
-- function's name ends in a digest of its statement, so that the functions of two releases can exist at the same time.
-- An instance without its functions opens no connection, and is not ready.
--
-- A function does this in one round trip. In a single statement, `set_config` would run before the tables are read,
-- afterwards or never, depending on the plan; the commands of a PL/pgSQL function run in order.

\ir names.sql
\set files `for file in sql/*.sql; do cat "$file"; printf '\f'; done`
begin;

with statements as (
    select
        rtrim(text, e'\n') as text,
        -- the types in the headers can be trusted: tests/db/test_statements.py compares them with the database
        array(select type[1] from regexp_matches(text, '^--   \$\d+ +\S+ +(\S+)', 'gn') as type) as parameters,
        regexp_replace(
            regexp_replace(substring(text from '\n-- returns \w+: (.+)\n-- index'), '\n-- ', '', 'g'),
            -- return query tells the domain of a time in tasks from timestamptz, which is what a client receives
            '(\w+_at) timestamptz',
            '\1 tasks.\1%type',
            'g'
        ) as columns
    from string_to_table(:'files', e'\f') as text
    where text like '%$1%'
),

functions as (
    select
        format(
            '%I(%s)',
            substring(text from '^-- (\w+)') || '_' || left(encode(sha256(convert_to(text, 'utf8')), 'hex'), 8),
            array_to_string(parameters, ', ')
        ) as signature,
        columns,
        text
    from statements
)

select
    format(
        -- the path is pinned: no object of another schema takes the place of one of these
        'create or replace function %s returns table (%s) language plpgsql set search_path to %I, pg_temp as %L',
        signature,
        columns,
        current_schema(),
        format(
            E'#variable_conflict use_column\n'
            'begin\n'
            'perform set_config(''task_service.user_id'', $1::text, true);\n'
            'return query\n'
            '%s;\n'
            'end',
            text
        )
    ),
    format('comment on function %s is ''A statement of the task service.''', signature),
    format('revoke all on function %s from public', signature),
    format('grant execute on function %s to %I', signature, :'application')
from functions
\gexec

commit;
