"""A guest book with nothing but the standard library.

GET / shows the entries, POST / with a form's `entry` adds one, GET /health says that it serves. Entries are kept
in STATE_DIRECTORY, the app's own directory on the data partition. PORT is the port.
"""

import html
import os
import platform
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

FORM_BYTES_MAX = 4096
DATABASE = os.path.join(os.environ.get("STATE_DIRECTORY", "."), "guestbook.sqlite")
PAGE = """<!doctype html>
<title>Guest book</title>
<h1>Guest book</h1>
<form method="post"><input name="entry" maxlength="200" autofocus> <button>Sign</button></form>
<ul>{entries}</ul>
<p>Python {version}, user {user}.</p>
"""


def database():
    connection = sqlite3.connect(DATABASE)
    connection.execute("CREATE TABLE IF NOT EXISTS entry (text TEXT NOT NULL)")
    return connection


class Guestbook(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, "text/plain", "healthy\n")
        elif self.path == "/":
            with database() as entries:
                rows = entries.execute("SELECT text FROM entry ORDER BY rowid DESC LIMIT 100")
                listed = "".join(f"<li>{html.escape(text)}</li>" for (text,) in rows)
            page = PAGE.format(entries=listed, version=platform.python_version(), user=os.getuid())
            self.answer(200, "text/html", page)
        else:
            self.answer(404, "text/plain", "no such page\n")

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= FORM_BYTES_MAX:
            self.answer(413, "text/plain", f"a form of at most {FORM_BYTES_MAX} bytes is taken\n")
            return
        form = parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        with database() as entries:
            entries.executemany("INSERT INTO entry VALUES (?)", [(text[:200],) for text in form.get("entry", [])])
        self.send_response(303)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    print(f"guestbook: serving on port {port}", flush=True)
    ThreadingHTTPServer(("", port), Guestbook).serve_forever()
