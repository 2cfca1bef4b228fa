-- seed: example tasks for one user. $1 is the user's id, $2 how many. Run again, it adds none.
with owner as (
    insert into users (id) values ($1)
    on conflict do nothing
)

insert into tasks (id, user_id, title, description, completed, created_at, updated_at)
select
    md5($1::text || '/' || number)::uuid,
    $1,
    (array['Buy milk', 'Water the plants', 'Call the dentist', 'Pay the rent', 'Book a train', 'Write the report'])[
        1 + number % 6
    ] || ' #' || number,
    case when number % 3 = 0 then 'Made by make seed.' end,
    number % 4 = 0,
    now() - number * interval '37 minutes',
    now() - number * interval '31 minutes'
from generate_series(1, $2::int) as number
on conflict on constraint tasks_by_id do nothing
