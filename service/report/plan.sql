-- plan: the generic plan of a statement. name, text and arguments are filled in, from its file in sql/.
set local plan_cache_mode = force_generic_plan;
prepare {name} as {text};
explain (format json) execute {name}{arguments};
explain (costs off) execute {name}{arguments};
deallocate {name};
