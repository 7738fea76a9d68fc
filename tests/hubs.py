"""A stand-in for the Hugging Face hub: its cache on the disk, and the hub on this machine."""

import json
import shutil
import threading
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40


def in_hub_cache(cache, name, folder):
    """Put a model into a cache of the hub, as its library does; return its folder there."""
    model = cache / f"models--{name.replace('/', '--')}"
    snapshot = model / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    return snapshot


@contextmanager
def served(name, folder, refused=()):
    """Serve a folder as a hub does its only model; give the address and what is asked for.

    What is asked for is a list that grows: a file's name, and how many of its bytes were sent.

    Args:
        name: The model.
        folder: Its files.
        refused: Names of files that are for those alone who were let in.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.model, server.folder, server.refused, server.asked = name, folder, refused, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers what the hub's library asks for: a revision, its files, and parts of one."""

    def log_message(self, *words):
        """Write nothing."""

    def do_HEAD(self):
        self.answer(has_body=False)

    def do_GET(self):
        self.answer(has_body=True)

    def answer(self, *, has_body):
        name, folder = self.server.model, self.server.folder
        path, files = self.path.partition("?")[0], f"/{name}/resolve/{COMMIT}/"
        if path == f"/api/models/{name}/revision/main":
            self.send(json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode())
        elif path == f"/api/models/{name}/tree/{COMMIT}":
            self.send(json.dumps([listed(each) for each in sorted(folder.iterdir())]).encode())
        elif path.removeprefix(files) in self.server.refused:
            self.send(b"{}", 403, {"X-Error-Code": "GatedRepo"}, has_body=has_body)
        elif path.startswith(files) and (file := folder / path.removeprefix(files)).is_file():
            self.send_file(file, has_body=has_body)
        else:
            self.send(b"{}", 404, {"X-Error-Code": "EntryNotFound"}, has_body=has_body)

    def send_file(self, file, *, has_body):
        content, status = file.read_bytes(), 200
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            content, status = content[int(first) : int(last or len(content)) + 1], 206
        if has_body:
            self.server.asked.append((file.name, len(content)))
        more = {"ETag": f'"{tag(file)}"', "X-Repo-Commit": COMMIT}
        self.send(content, status, more, has_body=has_body)

    def send(self, content, status=200, more=None, *, has_body=True):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(more or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if has_body:
            self.wfile.write(content)


def tag(file):
    """Return what the hub knows a file's content by."""
    return sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


def listed(file):
    """Return what the hub lists of a file."""
    return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": tag(file)}
