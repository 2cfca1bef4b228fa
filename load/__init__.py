"""Load tests: users for locust, an open-loop generator, and the soak test (`make load`, `make soak`).

`locustfile.py` imports only locust, so that a team can copy it. No code that the service runs may live here, and no
module of `service` may import this package.
"""
