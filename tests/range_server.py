"""A local HTTP server of one file that serves ranges, and fails on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RangeServer(ThreadingHTTPServer):
    """Serves `content` under any address.

    Args:
        content: of the file.
        failures: what befalls the first requests, one each: "dies" (half-way), "busy" (503), "missing" (404), "whole"
            (as if no range had been asked for), "garbage" (no HTTP), "hangs" (no answer), "crawls" (byte by byte).
    """

    daemon_threads = True

    def __init__(self, content: bytes, failures: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.failures = content, failures
        self.ranges: list[tuple[int, int]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.is_over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where the client goes away."""


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer

    def do_GET(self) -> None:
        content = self.server.content
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range", "")
        if asked:
            start, end = asked.removeprefix("bytes=").split("-")
            first, last = int(start), min(int(end) if end else last, last)
        self.server.ranges.append((first, last))
        failure = self.server.failures.pop(0) if self.server.failures else ""
        if failure in ("busy", "missing"):
            self.send_error(503 if failure == "busy" else 404)
            return
        if failure == "garbage":
            self.wfile.write(b"\0\1\2 no answer\n")
            return
        if failure == "hangs":
            self.server.is_over.wait(20)
            return
        if failure == "whole":
            first, last = 0, len(content) - 1
        self.send_response(206 if asked and failure != "whole" else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        part = content[first : last + 1]
        if failure == "crawls":
            for byte in part:
                self.wfile.write(bytes([byte]))
                if self.server.is_over.is_set():
                    return
                time.sleep(0.05)
        self.wfile.write(part[: len(part) // 2] if failure == "dies" else part)

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


@contextmanager
def serve(content: bytes, *, failures: list[str] | None = None) -> Iterator[RangeServer]:
    """A running server, gone at the end of the block."""
    server = RangeServer(content, failures or [])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()
