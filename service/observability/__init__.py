"""What operators see: log lines, metrics, probes, Server-Timing.

It reads public properties of the other packages and gives them hooks to call; nothing here decides what a request gets.
`log` and `request_log` import nothing of the service, and `api` may import them. The other modules are imported by the
composition root alone.
"""
