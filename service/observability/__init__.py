"""What operators see: log lines, metrics, probes, Server-Timing.

It reads public properties of the other packages and gives them hooks to call; nothing here decides what a request gets.
`log` imports nothing of the service, and `request_log` only `log`: `api` may import both. The composition root alone
imports the other modules.
"""
