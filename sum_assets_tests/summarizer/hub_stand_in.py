"""Stand-ins of the Hugging Face Hub: its cache on disk, and a server of as much of its API as a download asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


def commit_of(number: int) -> str:
    """Return the hash of a commit of the stand-ins."""
    return hashlib.sha1(str(number).encode()).hexdigest()


def cache_model(cache: Path, hub_id: str, folder: Path, commit: str, *refs: str) -> Path:
    """Put a folder's files into a cache as a download would, and return the snapshot's folder."""
    model = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = model / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir(exist_ok=True)
    for path in folder.iterdir():
        blob = model / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    for ref in refs:
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / ref).write_text(commit)
    return snapshot


class Hub(ThreadingHTTPServer):
    """A hub with one model. `refs` are its branches and tags, `commits` the folders of its commits."""

    daemon_threads = True

    def __init__(self, hub_id: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub_id = hub_id
        self.refs: dict[str, str] = {}
        self.commits: dict[str, Path] = {}
        self.gated = False
        self.down = False
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serve_hub(hub_id: str) -> Iterator[Hub]:
    """Serve a hub until the block ends."""
    with Hub(hub_id) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub, path = self.server, unquote(self.path.partition("?")[0])
        if hub.down:
            return self._answer(503, b"{}")
        api, files = f"/api/models/{hub.hub_id}", f"/{hub.hub_id}/resolve/"
        if not path.startswith((api, files)):
            return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            return self._file(revision, name)
        kind, _, revision = path.removeprefix(api).strip("/").partition("/")
        commit = hub.refs.get(revision or "main", revision)
        if commit not in hub.commits:
            return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if kind == "tree":
            return self._json([self._entry(path) for path in sorted(hub.commits[commit].iterdir())])
        return self._json({"id": hub.hub_id, "modelId": hub.hub_id, "sha": commit, "siblings": [], "tags": []})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _file(self, revision: str, name: str) -> None:
        hub = self.server
        if hub.gated:
            return self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        path = hub.commits[hub.refs.get(revision, revision)] / name
        if not path.is_file():
            return self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        if self.command == "GET":
            hub.fetched.append(name)
        tag = self._entry(path)["oid"]
        return self._answer(200, path.read_bytes(), {"X-Repo-Commit": revision, "ETag": f'"{tag}"'})

    @staticmethod
    def _entry(path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"type": "file", "path": path.name, "size": len(content), "oid": oid}

    def _json(self, content: Any) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Write nothing."""
