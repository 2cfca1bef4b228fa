"""An issuer that serves a key set over HTTP on loopback, and can be stopped and started again."""

import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def self_signed() -> bytes:
    """A certificate for 127.0.0.1 that lasts an hour, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer of the tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks may be set back
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


class JwksServer:
    """Answers every GET with `status` and the document of its path, or else `document`.

    While `answering` is not set, it answers nothing. A `trickle` that is not empty is sent instead of the answer, one
    byte every 10 ms. `targets` are those of the requests, `fetches` is their number, and `left` is the number of
    clients that disconnected before the end of a trickle.
    """

    def __init__(self, document: bytes, certificate: Path | None = None) -> None:
        """With `certificate`, serves TLS with a self-signed certificate, written to that file with its key."""
        self.document = document
        self.documents: dict[str, bytes] = {}
        self.context: ssl.SSLContext | None = None
        if certificate:
            certificate.write_bytes(self_signed())
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(certificate)
        self.status = 200
        self.trickle = b""
        self.targets: list[str] = []
        self.left = 0
        self.answering = threading.Event()
        self.answering.set()
        self.port = 0
        self.start()

    @property
    def fetches(self) -> int:
        return len(self.targets)

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}/jwks"

    def start(self) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.targets.append(self.path)
                issuer.answering.wait()
                for byte in issuer.trickle:
                    try:
                        self.wfile.write(bytes([byte]))
                    except OSError:
                        issuer.left += 1
                        return
                    time.sleep(0.01)
                document = issuer.documents.get(self.path, issuer.document)
                self.send_response(issuer.status)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        if self.context:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self.answering.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
