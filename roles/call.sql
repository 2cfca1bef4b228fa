-- {name}: through its function of roles/functions.sql, for row-level security.

select * from {function}({parameters})
