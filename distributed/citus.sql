-- Distributes users and tasks on Citus by the user: each user's row and tasks are on one shard.
--
-- Run it once as the migrator, after the migrations and before the first request. The extension and the worker nodes
-- are there already (create extension citus; select citus_add_node(...)). Tables with rows may be distributed too:
-- their rows are copied, and writes wait meanwhile.

\set ON_ERROR_STOP on
begin;
set local lock_timeout = '2s';

select create_distributed_table('users', 'id');
select create_distributed_table('tasks', 'user_id', colocate_with => 'users');

commit;
