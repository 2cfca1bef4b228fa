-- Distributes users and tasks on Citus by user id: each user's row and tasks are on one shard.
--
-- Run it once as the migrator, after the migrations and before the first request. Create the extension and add the
-- worker nodes before (create extension citus; select citus_add_node(...)). Tables that have rows can be distributed
-- too: Citus copies the rows, and writes wait until it is done.

\set ON_ERROR_STOP on
begin;
set local lock_timeout = '2s';

select create_distributed_table('users', 'id');
select create_distributed_table('tasks', 'user_id', colocate_with => 'users');

commit;
