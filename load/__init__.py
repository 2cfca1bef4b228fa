"""Load tests: locust's users, an open loop, and the soak (`make load`, `make soak`). The service does not use it."""
