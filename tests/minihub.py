"""A Hub on this machine: enough of its HTTP API for the real clients to push and load, over LFS (Xet is not spoken).

It refuses what the Hub refuses: a wrong token, private repositories without a token, an upload whose SHA-256 is not
the announced one, a commit that names a missing upload or is based on an outdated parent.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit


USER = "me"
TOKEN = "hf_dummy"
LFS_SUFFIXES = (".parquet", ".safetensors", ".bin", ".npy")
DATE = "2026-01-01T00:00:00.000Z"


class Request(NamedTuple):
    """A line of the log."""

    method: str
    path: str
    status: int


class File(NamedTuple):
    """What a commit knows of a file; its bytes lie in `MiniHub.blobs`."""

    oid: str
    size: int
    lfs: bool


@dataclass
class Repo:
    """A repository: every commit has all its files, branches point at commits."""

    private: bool
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, File]) -> str:
        sha = hashlib.sha1(json.dumps([sorted(files.items()), len(self.commits)]).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, File]]:
        """The commit that a branch or a commit's hash means, and its files."""
        sha = self.branches.get(revision, revision)
        if sha not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, self.commits[sha]


class MiniHub(ThreadingHTTPServer):
    """The server; use it as a context manager.

    Attributes:
        repos: by kind ("models", "datasets", "spaces") and name ("owner/name").
        blobs: the bytes of every file ever uploaded.
        log: all requests, in order.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.log: list[Request] = []
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a repository as the server holds them."""
        return {path: self.blobs[file.oid] for path, file in self.repos[kind, name].at(revision)[1].items()}

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


class Refused(Exception):
    """An error status, with the headers by which the clients tell errors apart."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.reply = Reply(status, json.dumps({"error": message}).encode(), headers)


class Handler(BaseHTTPRequestHandler):
    """One method per endpoint; each returns JSON values, a `Reply`, or raises `Refused`."""

    protocol_version = "HTTP/1.1"
    server: MiniHub

    def answer(self) -> None:
        url = urlsplit(self.path)
        path, self.query = unquote(url.path), parse_qs(url.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            try:
                result = self.route(path)
            except Refused as refused:
                result = refused.reply
            reply = result if isinstance(result, Reply) else Reply(200, json.dumps(result).encode(), {})
            self.server.log.append(Request(self.command, path, reply.status))
        self.send_response(reply.status)
        for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def route(self, path: str) -> Any:
        if self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
            raise Refused(401, "Invalid username or password.")
        for method, pattern, handler in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                return handler(self, **match.groupdict())
        raise Refused(404, f"no route {self.command} {path}")

    def log_message(self, *_: object) -> None:
        """Write nothing to stderr: `MiniHub.log` is the log."""

    @property
    def signed_in(self) -> bool:
        return "Authorization" in self.headers

    def require_token(self) -> None:
        if not self.signed_in:
            raise Refused(401, "Invalid username or password.")

    def readable(self, kind: str | None, name: str) -> Repo:
        """A repository; to who may not read it, it looks as if there were none."""
        repo = self.server.repos.get((kind or "models", name))
        if repo is None or (repo.private and not self.signed_in):
            raise Refused(404 if self.signed_in else 401, "Repository not found", "RepoNotFound")
        return repo

    def writable(self, kind: str | None, name: str) -> Repo:
        self.require_token()
        return self.readable(kind, name)

    def whoami(self) -> Any:
        self.require_token()
        auth = {"type": "access_token", "accessToken": {"role": "write"}}
        return {"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": auth}

    def validate_yaml(self) -> Any:
        return {"errors": [], "warnings": []}

    def create(self) -> Any:
        self.require_token()
        asked = json.loads(self.body)
        kind, name = asked.get("type", "model") + "s", f"{asked.get('organization') or USER}/{asked['name']}"
        url = f"{self.server.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if (kind, name) in self.server.repos:
            return Reply(409, json.dumps({"error": "You already created this repo", "url": url}).encode(), {})
        repo = Repo(private=asked.get("private") or asked.get("visibility") == "private")
        repo.commit("main", {})
        self.server.repos[kind, name] = repo
        return {"url": url, "name": name, "id": name}

    def info(self, kind: str, name: str, revision: str = "main") -> Any:
        repo = self.readable(kind, name)
        sha, files = repo.at(revision)
        siblings = [{"rfilename": path} for path in sorted(files)]
        dates = {"lastModified": DATE, "createdAt": DATE}
        return {"id": name, "sha": sha, "private": repo.private, "tags": [], "siblings": siblings} | dates

    def create_branch(self, kind: str, name: str, branch: str) -> Any:
        repo = self.writable(kind, name)
        repo.branches[branch] = repo.at(json.loads(self.body).get("startingPoint", "main"))[0]
        return {}

    def preupload(self, kind: str, name: str, revision: str) -> Any:
        self.writable(kind, name)
        paths = [file["path"] for file in json.loads(self.body)["files"]]
        modes = {path: "lfs" if path.endswith(LFS_SUFFIXES) else "regular" for path in paths}
        return {"files": [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in paths]}

    def lfs_batch(self, kind: str | None, name: str) -> Any:
        self.writable(kind, name)
        objects = json.loads(self.body)["objects"]
        for file in objects:
            if file["oid"] not in self.server.blobs:
                file["actions"] = {"upload": {"href": f"{self.server.url}/_lfs/{file['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def lfs_put(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "the upload has another SHA-256 than was announced")
        self.server.blobs[oid] = self.body
        return {}

    def commit(self, kind: str, name: str, revision: str) -> Any:
        repo = self.writable(kind, name)
        parent, files = repo.at(revision)
        files = dict(files)
        for line in self.body.splitlines():
            key, value = json.loads(line).values()
            if key == "header" and value.get("parentCommit") not in (None, parent):
                raise Refused(412, "A commit has happened since")
            if key == "file":
                data = base64.b64decode(value["content"])
                oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                self.server.blobs[oid] = data
                files[value["path"]] = File(oid, len(data), lfs=False)
            if key == "lfsFile":
                if value["oid"] not in self.server.blobs:
                    raise Refused(400, f"LFS object missing: {value['oid']}")
                files[value["path"]] = File(value["oid"], len(self.server.blobs[value["oid"]]), lfs=True)
            if key == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(revision, files)
        prefix = "" if kind == "models" else f"{kind}/"
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{prefix}{name}/commit/{sha}"}

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> Any:
        _, files = self.readable(kind, name).at(revision)
        prefix = f"{folder}/" if folder else ""
        inside = {path: file for path, file in files.items() if path.startswith(prefix)}
        if folder and not inside:
            raise Refused(404, f"{folder} does not exist", "EntryNotFound")
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        folders = {path[: cut.start()] for path in inside for cut in re.finditer("/", path)}
        entries = [_file(path, file) for path, file in inside.items()]
        entries += [_folder(path) for path in folders if path.startswith(prefix)]
        return [entry for entry in entries if recursive or "/" not in entry["path"].removeprefix(prefix)]

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> Any:
        sha, files = self.readable(kind, name).at(revision)
        if path not in files:
            refused = Refused(404, "Entry not found", "EntryNotFound")
            refused.reply.headers["X-Repo-Commit"] = sha
            raise refused
        data = self.server.blobs[files[path].oid]
        headers = {"ETag": f'"{files[path].oid}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if self.command == "HEAD" or not asked:
            return Reply(200, data, headers)
        first, last = asked.groups()
        start = int(first) if first else len(data) - int(last)
        end = min(int(last), len(data) - 1) if first and last else len(data) - 1
        return Reply(206, data[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"})


def _file(path: str, file: File) -> dict[str, Any]:
    lfs = {"oid": file.oid, "sha256": file.oid, "size": file.size, "pointerSize": 134}
    return {"type": "file", "path": path, "oid": file.oid, "size": file.size} | ({"lfs": lfs} if file.lfs else {})


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}


REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/validate-yaml", Handler.validate_yaml),
    ("POST", "/api/repos/create", Handler.create),
    ("GET", REPO, Handler.info),
    ("GET", REPO + "/revision/(?P<revision>.+)", Handler.info),
    ("POST", REPO + "/branch/(?P<branch>.+)", Handler.create_branch),
    ("POST", REPO + "/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", REPO + "/commit/(?P<revision>.+)", Handler.commit),
    ("GET", REPO + "/tree/(?P<revision>[^/]+)/?(?P<folder>.*?)/?", Handler.tree),
    ("POST", PAGE + r"\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", "/_lfs/(?P<oid>.+)", Handler.lfs_put),
    ("HEAD", PAGE + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    ("GET", PAGE + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
