"""The bench: what a request costs this service, and what it would cost two others. `python -m bench --help`."""
