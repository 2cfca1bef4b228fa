"""Load as frontends make it, and the soak: `make load`, `make soak`. The service does not import this."""
