-- A function for each statement of sql/, which first tells the database whose statement it is.
--
-- Run it as the migrator, in the folder above this one, for each release that is to run with ROW_LEVEL_SECURITY=true,
-- and before it. A function's name ends in a digest of its statement: the functions of two releases live side by side,
-- and an instance whose functions are not there gets no connection, and so no traffic.
--
-- Nothing less does it in one round trip. `set_config` beside the statement's own tables is evaluated before them,
-- after them or never, as the plan will have it; the commands of a plpgsql function run one after the other.

\ir names.sql
\set files `for file in sql/*.sql; do cat "$file"; printf '\f'; done`
begin;

with statements as (
    select
        rtrim(text, e'\n') as text,
        -- what the header says of parameters and columns is true: the tests of sql/ hold it to the database
        array(select type[1] from regexp_matches(text, '^--   \$\d+ +\S+ +(\S+)', 'gn') as type) as parameters,
        regexp_replace(substring(text from '\n-- returns \w+: (.+)\n-- index'), '\n-- ', '', 'g') as columns
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
        'create or replace function %s returns table (%s) language plpgsql as %L',
        signature,
        columns,
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
