"""`make frontend`: serves this folder on loopback."""

import argparse
import errno
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent


class Files(SimpleHTTPRequestHandler):
    """Serves the page's files without a log line for each. A rebuilt page shows at the next reload."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def server(port: int) -> ThreadingHTTPServer:
    """Listens on `port`, 0 for any free one. Raises OSError."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Files, directory=str(HERE)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make frontend", description="Serves the example page on loopback.")
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    try:
        with server(port) as serving:
            print(f"The example is at http://127.0.0.1:{port}. Ctrl-C stops it.", flush=True)
            serving.serve_forever()
    except KeyboardInterrupt:
        print("Stopped.")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.exit(f"error: port {port} is taken. Another one: make frontend ARGS='--port {port + 1}'")


if __name__ == "__main__":
    main()
