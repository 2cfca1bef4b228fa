"""Compressed responses: zstd, brotli or gzip, as the client accepts, by starlette-compress."""

import sys
from collections.abc import Awaitable
from typing import Any

import brotli
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette_compress import CompressMiddleware

MINIMUM_BYTES = 2048
"""A shorter response is sent as it is: it fits two packets, and compressing takes longer than sending."""

WINDOW_LOG = 15
HASH_LOG = 12
"""Of zstd. A stream keeps its tables while its reader is slow: 0.3 MB with these, 2.9 MB with the library's level 4."""

BROTLI = {"quality": 2, "lgwin": 16}
"""A stream keeps 0.6 MB, and 1.2 MB with the library's quality 4 and brotli's default window."""


class BrotliStream:
    """One compressed response."""

    def __init__(self) -> None:
        self._compressor = brotli.Compressor(**BROTLI)

    def feed(self, data: bytes, flush: bool) -> tuple[bytes]:
        return (self._compressor.process(data) + (self._compressor.flush() if flush else b""),)

    def finish(self) -> tuple[bytes]:
        return (self._compressor.finish(),)


if sys.version_info >= (3, 14):
    from compression import zstd

    OPTIONS = {
        zstd.CompressionParameter.compression_level: 1,
        zstd.CompressionParameter.window_log: WINDOW_LOG,
        zstd.CompressionParameter.hash_log: HASH_LOG,
    }

    class ZstdStream:
        """One compressed response."""

        def __init__(self) -> None:
            self._compressor = zstd.ZstdCompressor(options=OPTIONS)

        def feed(self, data: bytes, flush: bool) -> tuple[bytes]:
            mode = self._compressor.FLUSH_BLOCK if flush else self._compressor.CONTINUE
            return (self._compressor.compress(data, mode),)

        def finish(self) -> tuple[bytes]:
            return (self._compressor.flush(),)

else:
    import zstandard

    PARAMETERS = zstandard.ZstdCompressionParameters.from_level(1, window_log=WINDOW_LOG, hash_log=HASH_LOG)

    class ZstdStream:
        """One compressed response.

        The library uses zstandard's chunker, a generator. When the client disconnects, the generator is closed before
        its end, and the end of the response, which the application still sends, would raise ZstdError.
        """

        def __init__(self) -> None:
            self._compressor = zstandard.ZstdCompressor(compression_params=PARAMETERS).compressobj()

        def feed(self, data: bytes, flush: bool) -> tuple[bytes]:
            compressed = self._compressor.compress(data)
            return (compressed + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) if flush else compressed,)

        def finish(self) -> tuple[bytes]:
            return (self._compressor.flush(),)


def compressed(app: ASGIApp) -> ASGIApp:
    """`app` with longer responses compressed, for clients that accept an encoding."""
    middleware: Any = CompressMiddleware(app, minimum_size=MINIMUM_BYTES)
    middleware._zstd.create_encoder = lambda _: ZstdStream()
    middleware._brotli.create_encoder = lambda _: BrotliStream()
    compressing: ASGIApp = middleware

    def choose_app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for name, _ in scope["headers"]:
            if name == b"accept-encoding":
                return compressing(scope, receive, send)
        return app(scope, receive, send)

    return choose_app
