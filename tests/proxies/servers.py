"""Proxies that compress responses: the program, the Debian package and the configuration of each."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from tests.ports import free_port
from tests.serving import answers, until

SBIN = "/usr/sbin:/usr/local/sbin"


class Proxy(msgspec.Struct, frozen=True):
    """A proxy. `command` and `configuration` may name {port}, {service}, {folder} and {file}."""

    name: str
    package: str
    program: str
    command: tuple[str, ...]
    configuration: str = ""


NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_proxied any;
    gzip_types application/json;
    gzip_min_length 1;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{service};
            proxy_http_version 1.1;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend proxy
    bind 127.0.0.1:{port}
    compression algo gzip
    compression type application/json
    default_backend service
backend service
    server service 127.0.0.1:{service}
"""

APACHE = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/pid
Mutex file:{folder}
ErrorLog {folder}/log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule filter_module /usr/lib/apache2/modules/mod_filter.so
LoadModule deflate_module /usr/lib/apache2/modules/mod_deflate.so
LoadModule brotli_module /usr/lib/apache2/modules/mod_brotli.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass / http://127.0.0.1:{service}/
AddOutputFilterByType {filter} application/json
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    encode {{
        gzip
        minimum_length 1
    }}
    reverse_proxy 127.0.0.1:{service}
}}
"""

VARNISH = """
vcl 4.1;
backend service {{ .host = "127.0.0.1"; .port = "{service}"; }}
sub vcl_backend_response {{ set beresp.do_gzip = true; }}
"""

PROXIES = (
    Proxy("nginx", "nginx-light", "nginx", ("-c", "{file}", "-p", "{folder}"), NGINX),
    Proxy("HAProxy", "haproxy", "haproxy", ("-db", "-f", "{file}"), HAPROXY),
    Proxy("Apache, gzip", "apache2", "apache2", ("-X", "-f", "{file}"), APACHE.replace("{filter}", "DEFLATE")),
    Proxy(
        "Apache, brotli", "apache2", "apache2", ("-X", "-f", "{file}"), APACHE.replace("{filter}", "BROTLI_COMPRESS")
    ),
    Proxy("Caddy", "caddy", "caddy", ("run", "--adapter", "caddyfile", "--config", "{file}"), CADDY),
    Proxy(
        "Varnish",
        "varnish",
        "varnishd",
        ("-F", "-n", "{folder}/varnish", "-a", "127.0.0.1:{port}", "-f", "{file}"),
        VARNISH,
    ),
)


def missing() -> list[str]:
    """The Debian packages that are not installed."""
    return sorted({proxy.package for proxy in PROXIES if not program(proxy)})


def program(proxy: Proxy) -> str | None:
    return shutil.which(proxy.program, path=f"{os.environ.get('PATH', '')}:{SBIN}")


@contextmanager
def running(proxy: Proxy, service: int, folder: Path) -> Iterator[str]:
    """Run the proxy in front of the service at port `service`. Yields the address of the proxy."""
    port = free_port()
    folder.chmod(0o755)  # Apache and Varnish run as another user when root starts them
    values = {"port": port, "service": service, "folder": folder, "file": folder / "configuration"}
    (folder / "configuration").write_text(proxy.configuration.format(**values))
    command = [str(program(proxy)), *(part.format(**values) for part in proxy.command)]
    environment = {"PATH": f"{os.environ['PATH']}:{SBIN}", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            with suppress(AssertionError):
                until(lambda: answers(port) or process.poll() is not None, 10)
            if not answers(port):
                raise SystemExit(f"error: {proxy.name} does not start:\n{(folder / 'output').read_text()}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
