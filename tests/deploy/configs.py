"""The files of deploy/, changed to run on this machine: its addresses, ports and folders, and a new certificate."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

INSTANCES = ("10.0.0.11", "10.0.0.12")
"""The addresses that the files of deploy/ name."""

NGINX = """
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/task-service.conf;
}}
"""


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """`text` with each key replaced by its value. Raises KeyError when a key does not occur."""
    for old, new in changes.items():
        if old not in text:
            raise KeyError(old)
        text = text.replace(old, new)
    return text


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1: `tls.crt`, `tls.key`, and `tls.pem`, which has both."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=tasks.example.com"
    files = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "tls.key", "-out", "tls.crt")
    subprocess.run([*command.split(), *files], cwd=folder, check=True, capture_output=True)
    (folder / "tls.pem").write_text((folder / "tls.crt").read_text() + (folder / "tls.key").read_text())
    return folder / "tls.crt"


def nginx(folder: Path, changes: Mapping[str, str]) -> list[str]:
    """Write nginx's configuration to `folder`. Returns the command that runs it in the foreground."""
    text = (DEPLOY / "nginx" / "task-service.conf").read_text()
    places = {"/etc/nginx/tls/tasks.example.com": f"{folder}/tls", "/var/log/nginx/": f"{folder}/"}
    (folder / "task-service.conf").write_text(replaced(text, {**places, **changes}))
    user = "user root;" if os.geteuid() == 0 else ""  # the folder is not readable for other users
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def haproxy(folder: Path, changes: Mapping[str, str]) -> list[str]:
    """Write HAProxy's configuration to `folder`. Returns the command that runs it in the foreground."""
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    places = {
        "/etc/haproxy/tls/tasks.example.com.pem": f"{folder}/tls.pem",
        "/run/haproxy/admin.sock": f"{folder}/admin.sock",
    }
    (folder / "haproxy.cfg").write_text(replaced(text, {**places, **changes}))
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]
