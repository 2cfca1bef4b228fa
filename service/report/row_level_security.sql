-- row_level_security: whether it is on for tasks, and whether the functions of roles/functions.sql are there.
select
    exists (select from pg_class where oid = to_regclass('tasks') and relrowsecurity) as enabled,
    exists (
        select
        from pg_description
        where classoid = 'pg_proc'::regclass and description = 'A statement of the task service.'
    ) as has_functions
