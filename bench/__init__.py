"""The benchmark: processor time per request, of this service and of two other designs. `python -m bench --help`."""
