"""A web server on this machine, well behaved or not."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Handler(BaseHTTPRequestHandler):
    """Serves the server's `files` in its `mode`; remembers the ranges asked for."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        start = (
            int(self.headers.get("Range", "bytes=0-")[6:-1]) if "no-range" not in server.mode else 0
        )
        content = server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = b"<html>log in</html>" if server.mode == "page" else content[start:]
        self.send_response(206 if start else 200)
        self.send_header(
            "Content-Type", "text/html" if server.mode == "page" else "application/octet-stream"
        )
        self.send_header("Content-Length", str(len(body)))
        if start:
            first = start + 1 if server.mode == "another part" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if server.mode == "silent":
            time.sleep(1)
        elif server.mode == "slow":
            for position in range(0, len(body), len(body) // 5):
                self.wfile.write(body[position : position + len(body) // 5])
                time.sleep(0.2)
        elif "breaks-off" in server.mode:
            self.wfile.write(body[: 2 * len(content) // 3])
            self.wfile.flush()
            self.connection.close()
        else:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def file_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.mode, server.ranges = {}, "", []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
