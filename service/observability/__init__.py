"""Logs, metrics, health probes and the Server-Timing header.

The modules read public properties of the other packages, and provide functions that these call. No code here may change
the status or the body of a response, except the responses of the probes.

May import `api`, `auth`, `db`, `edge`, `settings` and `version`. `log` imports no module of the service, and
`request_log` imports only `log`. Imported by `app`; `api` imports only `request_log`, and `server` only `log`.
"""
