-- Sets the default names of the roles. To use another name: psql -v application=shop_tasks ...

\set ON_ERROR_STOP on
set client_min_messages = warning;
\if :{?owner}
\else
    \set owner task_owner
\endif
\if :{?migrator}
\else
    \set migrator task_migrator
\endif
\if :{?application}
\else
    \set application task_application
\endif
\if :{?reader}
\else
    \set reader task_reader
\endif
