"""Logs, metrics, health probes and the Server-Timing header.

The modules read public properties of the other packages, and give them hooks to call. No code here may change how a
request is answered. `log` imports no module of the service, and `request_log` only `log`: `api` may import both. Only
the composition root imports the other modules.
"""
