"""A page of another site, whose origin the shared pool lets in: it runs code as its author pasted it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.pools import FOREIGN_PORT

_PAGE = """<!doctype html><title>elsewhere</title>
<input type="file"><button>go</button><pre></pre>
<script type="module">
const said = document.querySelector('pre');
const console = { log: (...values) => { said.textContent = JSON.stringify(values); } };
document.querySelector('button').onclick = async () => {
  try {
%s
  } catch (error) {
    said.textContent = String(error);
  }
};
</script>"""


@contextlib.contextmanager
def foreign_page(code: str) -> Iterator[str]:
    """Its address: a click on its button runs the code; what that logs stands in its `pre`, as JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (_PAGE % code).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", FOREIGN_PORT), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{FOREIGN_PORT}/"
        finally:
            server.shutdown()
            thread.join()
