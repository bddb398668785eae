"""A stand-in for the Hugging Face hub on this machine: what huggingface_hub asks for to download and to upload."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import yaml

# Files of these names are large ones: on the hub they lie in a storage of their own, named by their SHA-256.
_LARGE = re.compile(r"\.(safetensors|bin|pth|pt)$")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_STORAGE = re.compile(r"/storage/([0-9a-f]{64})")


@dataclass
class Repository:
    """One model repository.

    Args:
        commits: files by path, by commit.
        refs: commits by branch or tag.
        token: that reading needs; None for a public one.
        is_gated: whether its terms must be accepted first.
        status: that answers everything, such as 503; 0 answers as the hub does.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    is_gated: bool = False
    status: int = 0

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add files to a branch, a new one of which begins at main; returns the commit."""
        whole = {**self.commits.get(self.refs.get(branch, self.refs.get("main", "")), {}), **files}
        name = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits[name] = whole
        self.refs[branch] = name
        return name

    @property
    def files(self) -> dict[str, bytes]:
        """Of the branch main."""
        return self.commits[self.refs["main"]]


@dataclass(frozen=True)
class Request:
    """What was asked for: method, path, the header Range, and the token."""

    method: str
    path: str
    range: str | None
    token: str | None


class StandInHub(ThreadingHTTPServer):
    """The hub.

    Attributes:
        url: its endpoint.
        repositories: by name; `create` makes them too.
        requests: all that were made.
        failures: what befalls the next downloads of large files, one each: "dies" (the connection, half-way), "short"
            (fewer bytes than announced), "other" (as many, but other bytes), "busy" (503).
        writer: the token that uploading needs; None refuses it.
        hold: large files are not sent before it is set.
        after_download: called once, after the next GET.
        validated: model cards whose metadata were checked before a commit.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.failures: list[str] = []
        self.writer: str | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.stored: dict[str, bytes] = {}
        self.validated: list[str] = []
        self.after_download: Callable[[], object] | None = None

    def add(self, name: str, files: Mapping[str, bytes], **settings: Any) -> Repository:
        """A new repository with one commit."""
        repository = self.repositories[name] = Repository(**settings)
        repository.commit(files)
        return repository

    def downloads(self, suffix: str = "") -> list[Request]:
        """The requests that files were sent for, of one suffix or all; large ones by the name in their storage."""
        digests = {
            hashlib.sha256(content).hexdigest()
            for repository in self.repositories.values()
            for files in repository.commits.values()
            for name, content in files.items()
            if name.endswith(suffix)
        }
        return [
            request
            for request in self.requests
            if request.method == "GET"
            and (("/resolve/" in request.path and request.path.endswith(suffix)) or request.path[9:] in digests)
        ]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where the client goes away."""


class _Handler(BaseHTTPRequestHandler):
    server: StandInHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    # --- reading -------------------------------------------------------------------------------------------------

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()
        if self.server.after_download is not None:
            self.server.after_download()
            self.server.after_download = None

    def _read(self) -> None:
        path = self.path.partition("?")[0]  # a branch in it may have an escaped slash
        self._note(unquote(path))
        if match := _STORAGE.fullmatch(path):
            return self._send_stored(match[1])
        if match := _RESOLVE.fullmatch(path):
            repository, commit = self._commit_of(match[1], unquote(match[2]))
            return self._resolve(repository, commit, unquote(match[3])) if repository else None
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        if match is None:
            return self._answer(404, b"{}")
        repository, commit = self._commit_of(match[1], unquote(match[2] or "main"))
        if repository is None:
            return None
        siblings = [{"rfilename": name} for name in sorted(repository.commits[commit])]
        return self._answer_json({"id": match[1], "modelId": match[1], "sha": commit, "siblings": siblings})

    def _commit_of(self, name: str, revision: str) -> tuple[Repository | None, str]:
        """The repository and commit, or (None, "") after a refusal as the hub words it."""
        repository = self.server.repositories.get(name)
        if repository is not None and repository.status:
            self._answer(repository.status, b'{"error": "the stand-in was told so"}')
        elif repository is None or repository.token not in (None, self._token()):
            self._answer(404 if self._token() else 401, b"{}", **{"X-Error-Code": "RepoNotFound"})
        elif repository.is_gated:
            self._answer(403, b"{}", **{"X-Error-Code": "GatedRepo"})
        elif (commit := repository.refs.get(revision, revision)) not in repository.commits:
            self._answer(404, b"{}", **{"X-Error-Code": "RevisionNotFound"})
        else:
            return repository, commit
        return None, ""

    def _resolve(self, repository: Repository, commit: str, name: str) -> None:
        headers = {"X-Repo-Commit": commit}
        content = repository.commits[commit].get(name)
        if content is None:
            return self._answer(404, b"{}", **headers, **{"X-Error-Code": "EntryNotFound"})
        if _LARGE.search(name) is None:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._answer(200, content, **headers, ETag=f'"{blob}"')
        digest = hashlib.sha256(content).hexdigest()
        self.server.stored[digest] = content
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        # The storage is another machine for the client, so that it does not follow before it knows these headers.
        place = f"http://localhost:{self.server.server_port}/storage/{digest}"
        return self._answer(302, b"", **headers, Location=place)

    def _send_stored(self, digest: str) -> None:
        content = self.server.stored[digest]
        self.server.hold.wait(30)
        failure = self.server.failures.pop(0) if self.server.failures and self.command == "GET" else ""
        if failure == "busy":
            return self._answer(503, b"")
        if failure == "short":
            content = content[: len(content) // 2]
        if failure == "other":
            content = content[:-4] + bytes(255 - byte for byte in content[-4:])
        start, status, headers = 0, 200, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if asked := self.headers.get("Range"):
            start, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        self._answer(status, body, num_sent=len(body) // 2 if failure == "dies" else None, **headers)

    # --- writing -------------------------------------------------------------------------------------------------

    def do_POST(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self._note(path)
        body = self._body()
        if path == "/api/validate-yaml":
            card = json.loads(body)["content"]
            metadata = yaml.safe_load(card.split("---\n")[1])
            self.server.validated.append(card)
            return self._answer_json({"errors": [], "warnings": [], "metadata": metadata})
        if self.server.writer is None or self._token() != self.server.writer:
            return self._answer(403, b'{"error": "you have no right to write here"}')
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/.+", path):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if _LARGE.search(file["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            return self._answer_json({"files": modes})
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            uploads = [
                {**item, "actions": {"upload": {"href": f"{self.server.url}/storage/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            return self._answer_json({"transfer": "basic", "objects": uploads})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            return self._commit(match[1], match[2], [json.loads(line) for line in body.splitlines()])
        return self._answer(404, b"{}")

    def do_PUT(self) -> None:
        match = _STORAGE.fullmatch(self.path)
        assert match is not None
        self._note(self.path)
        content = self._body()
        assert hashlib.sha256(content).hexdigest() == match[1]
        self.server.stored[match[1]] = content
        self._answer(200, b"")

    def _create(self, wanted: Mapping[str, Any]) -> None:
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        is_new = name not in self.server.repositories
        if is_new:
            self.server.add(name, {".gitattributes": b""})
        answer = {"url": f"{self.server.url}/{name}", "name": name}
        self._answer(200 if is_new else 409, json.dumps(answer).encode())

    def _commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> None:
        files: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
        address = f"{self.server.url}/{name}"
        is_request = "create_pr=1" in self.path
        commit = self.server.repositories[name].commit(files, "refs/pr/1" if is_request else branch)
        answer = {"success": True, "commitOid": commit, "commitUrl": f"{address}/commit/{commit}"}
        self._answer_json({**answer, **({"pullRequestUrl": f"{address}/discussions/1"} if is_request else {})})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    # --- both ----------------------------------------------------------------------------------------------------

    def _token(self) -> str | None:
        given = self.headers.get("Authorization")
        return None if given is None else given.removeprefix("Bearer ")

    def _note(self, path: str) -> None:
        self.server.requests.append(Request(self.command, path, self.headers.get("Range"), self._token()))

    def _answer_json(self, document: object) -> None:
        self._answer(200, json.dumps(document).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, *, num_sent: int | None = None, **headers: str) -> None:
        """Send an answer, or only its first bytes before the connection breaks."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:num_sent])
        if num_sent is not None:
            self.close_connection = True


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    """A hub that answers until the block ends."""
    hub = StandInHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.hold.set()
        hub.shutdown()
        thread.join()
        hub.server_close()
