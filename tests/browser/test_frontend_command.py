"""`make frontend`, from its port to Ctrl-C."""

import signal
import subprocess
import sys

import httpx

from examples.frontend.serve import server

COMMAND = (sys.executable, "-m", "examples.frontend.serve", "--port")


def test_frontend_serves_until_ctrl_c(unused_tcp_port: int) -> None:
    with subprocess.Popen((*COMMAND, str(unused_tcp_port)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        first = process.stdout.readline()
        page = httpx.get(f"http://127.0.0.1:{unused_tcp_port}")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert first == f"The example is at http://127.0.0.1:{unused_tcp_port}. Ctrl-C stops it.\n"
    assert "<title>Tasks</title>" in page.text
    assert rest == "Stopped.\n"
    assert process.returncode == 0


def test_frontend_says_in_one_line_that_its_port_is_taken() -> None:
    with server(0) as other:
        done = subprocess.run((*COMMAND, str(other.server_port)), capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"port {other.server_port} is taken" in done.stderr
