"""A Hugging Face Hub on 127.0.0.1 for tests: reading is olah's, pushes are written as git repositories.

``Hub`` is the front that the client talks to. It answers the calls of a push itself (create repository, create branch,
validate the card, preupload, LFS batch and upload, commit) and writes ordinary git repositories with LFS objects; every
GET and HEAD goes on to an ``olah`` server, which serves those repositories with the Hub's protocol. Faults can be put
in the way of single requests.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import venv
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_" + "T" * 34
_GIT = {
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


class NoOlah(Exception):
    """olah is not there and cannot be installed."""


def olah_cli(folder: Path) -> Path:
    """The program of IAS_ZOO_OLAH, or of a virtual environment in ``folder`` that pip fills from PyPI, once."""
    from filelock import FileLock

    given = os.environ.get("IAS_ZOO_OLAH")
    if given:
        if not Path(given).is_file():
            raise NoOlah(f"IAS_ZOO_OLAH={given} is no file")
        return Path(given)
    program = folder / "olah" / "bin" / "olah-cli"
    with FileLock(folder / "olah.lock"):
        if not program.exists():
            venv.create(folder / "olah", with_pip=True)
            pip = [
                str(folder / "olah/bin/python"),
                "-m",
                "pip",
                "install",
                "-q",
                "--no-compile",
                "--disable-pip-version-check",
            ]
            done = subprocess.run([*pip, "olah"], capture_output=True, text=True)
            if done.returncode:
                raise NoOlah(f"pip install olah failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return program


@contextlib.contextmanager
def hub(folder: Path, program: Path) -> Iterator[Hub]:
    """Start olah and the front; stop both at the end."""
    port = _free_port()
    config = folder / "olah.toml"
    config.write_text(
        f'[basic]\nhost = "127.0.0.1"\nport = {port}\nrepos-path = "{folder / "cache"}"\n'
        f'mirrors-path = ["{folder / "mirror"}"]\n[accessibility]\noffline = true\n'
    )
    with (folder / "olah.out").open("wb") as out:
        command = [str(program), "--config", str(config), "--log-path", str(folder / "logs")]
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)
    front = None
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                raise NoOlah(f"olah-cli ended: {(folder / 'olah.out').read_text()[-500:]}")
            time.sleep(0.1)
        else:
            raise NoOlah("olah-cli does not listen after 30 s")
        front = Hub(folder, port)
        yield front
    finally:
        if front is not None:
            front.stop()
        process.kill()
        process.wait()


class Hub:
    """The front server. ``fault(method, path)`` may name what goes wrong with one request; see ``_Handler.read``."""

    def __init__(self, folder: Path, olah_port: int) -> None:
        self.folder, self.olah_port = folder, olah_port
        self.private: set[str] = set()
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.log: list[tuple[str, str]] = []
        self.go_on = threading.Event()
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def repository(self, repo_id: str) -> Path:
        return self.folder / "mirror" / "models" / repo_id

    def git(self, repo_id: str, *arguments: str) -> str:
        command = ["git", "-C", str(self.repository(repo_id)), *arguments]
        done = subprocess.run(command, env={**os.environ, **_GIT}, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stderr}")
        return done.stdout.strip()

    def has(self, repo_id: str, revision: str) -> bool:
        with contextlib.suppress(RuntimeError):
            return bool(self.git(repo_id, "rev-parse", "-q", "--verify", f"{revision}^{{commit}}"))
        return False

    def oid(self, repo_id: str, branch: str, path: str) -> str | None:
        """What the Hub knows a file by: the sha256 of an LFS object, git's own hash of any other; None: not there."""
        try:
            blob = self.git(repo_id, "rev-parse", "-q", "--verify", f"{branch}:{path}")
        except RuntimeError:
            return None
        pointer = re.match(r"version https://git-lfs\S+\noid sha256:(\w+)", self.git(repo_id, "cat-file", "-p", blob))
        return pointer[1] if pointer else blob

    def create(self, repo_id: str) -> None:
        """A repository with one commit that holds .gitattributes, as the Hub makes it."""
        self.repository(repo_id).mkdir(parents=True)
        self.git(repo_id, "init", "-q", "-b", "main")
        self.commit(
            repo_id, "main", {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, "first"
        )

    def commit(self, repo_id: str, branch: str, files: dict[str, bytes | None], message: str) -> str:
        """Write files as they are in git (None deletes one) on a branch; gives the commit."""
        with self.lock:
            root = self.repository(repo_id)
            if self.git(repo_id, "branch", "--list"):
                self.git(repo_id, "checkout", "-q", branch)
            for name, data in files.items():
                path = root / name
                if data is None:
                    path.unlink()
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            # What LFS would do to the content is done by the caller.
            self.git(repo_id, "-c", "core.attributesFile=/dev/null", "-c", "filter.lfs.clean=", "add", "-A", "-f")
            self.git(repo_id, "commit", "-q", "--allow-empty", "-m", message)
            return self.git(repo_id, "rev-parse", "HEAD")

    def put_lfs(self, repo_id: str, data: bytes) -> bytes:
        """Store an LFS object; gives its pointer."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.lfs_path(repo_id, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return _pointer(digest, len(data))

    def lfs_path(self, repo_id: str, digest: str) -> Path:
        return self.repository(repo_id) / ".git/lfs/objects" / digest[:2] / digest[2:4] / digest


def _pointer(digest: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined,no-any-return]

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.read()

    def do_HEAD(self) -> None:
        self.read()

    def do_POST(self) -> None:
        self.write()

    def do_PUT(self) -> None:
        self.write()

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def answer(self, status: int, value: Any = None, **headers: str) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def read(self) -> None:
        """Ask olah, then do as ``hub.fault`` says.

        ``"status 503"`` answers that; ``"cut"`` sends half of the body and hangs up; ``"none"`` hangs up at once;
        ``"stall"`` sends half and waits until ``hub.go_on``; ``"flip"`` changes the body's last byte.
        """
        self.hub.log.append((self.command, self.path))
        fault = self.hub.fault(self.command, self.path) or ""
        if fault.startswith("status"):
            self.answer(int(fault.split()[1]), {"error": "fault"})
            return
        path = urllib.parse.unquote(self.path)
        if any(re.match(rf"/(api/models/)?{repo}(/|\?|$)", path) for repo in self.hub.private) and not self.known:
            self.answer(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        meta = re.fullmatch(r"/api/models/([^/]+/[^/?]+)/revision/([^?]+)(\?.*)?", path)
        if meta and self.hub.repository(meta[1]).exists() and not self.hub.has(meta[1], meta[2]):
            # The Hub's answer; olah's is that the repository does not exist.
            self.answer(404, {"error": f"Invalid rev id: {meta[2]}"}, X_Error_Code="RevisionNotFound")
            return
        client = http.client.HTTPConnection("127.0.0.1", self.hub.olah_port, timeout=30)
        client.request(self.command, self.path, headers={"Accept-Encoding": "identity"})
        response = client.getresponse()
        body = response.read()
        client.close()
        if meta and response.status == 200 and self.command == "GET":  # olah knows no private repositories
            body = json.dumps({**json.loads(body), "private": meta[1] in self.hub.private}).encode()
        if fault == "flip":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = response.getheader("content-length") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "stall", "none"):
            self.wfile.write(body[: 0 if fault == "none" else len(body) // 2])
            self.wfile.flush()
            if fault == "stall":
                self.hub.go_on.wait(60)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(body)

    def write(self) -> None:
        """The calls of a push."""
        self.hub.log.append((self.command, self.path))
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        fault = self.hub.fault(self.command, self.path) or ""
        if fault.startswith("status"):
            self.answer(int(fault.split()[1]), {"error": "fault"})
        elif match := re.fullmatch(r"/put/([^/]+/[^/]+)/([0-9a-f]{64})", path):  # a presigned link: no token there
            if hashlib.sha256(data).hexdigest() != match[2]:
                self.answer(400, {"error": "sha256 differs"})
                return
            self.hub.put_lfs(match[1], data)
            self.answer(200)
        elif not self.known:
            self.answer(401, {"error": "Invalid username or password."})
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self.create(json.loads(data))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            if match[2] in self.hub.git(match[1], "branch", "--format=%(refname:short)").split():
                self.answer(409, {"error": "exists"})
                return
            self.hub.git(match[1], "branch", match[2], "main")
            self.answer(200, {})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
            files = json.loads(data)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
                    "shouldIgnore": False,
                    "oid": self.hub.oid(match[1], match[2], file["path"]),
                }
                for file in files
            ]
            self.answer(200, {"files": modes})
        elif match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            objects = []
            for item in json.loads(data)["objects"]:
                answer: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
                if not self.hub.lfs_path(match[1], item["oid"]).exists():
                    answer["actions"] = {"upload": {"href": f"{self.hub.url}/put/{match[1]}/{item['oid']}"}}
                objects.append(answer)
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self.commit(match[1], match[2], [json.loads(line) for line in data.splitlines()])
        else:
            self.answer(404, {"error": f"the test server does not know {path}"})

    def create(self, wanted: dict[str, Any]) -> None:
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] == "forbidden":
            self.answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        elif self.hub.repository(repo_id).exists():
            self.answer(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{repo_id}"})
        else:
            self.hub.create(repo_id)
            if wanted.get("visibility") == "private" or wanted.get("private"):
                self.hub.private.add(repo_id)
            self.answer(200, {"url": f"{self.hub.url}/{repo_id}"})

    def commit(self, repo_id: str, branch: str, lines: list[dict[str, Any]]) -> None:
        header: dict[str, Any] = {}
        files: dict[str, bytes | None] = {}
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    header = value
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if not self.hub.lfs_path(repo_id, value["oid"]).exists():
                        self.answer(400, {"error": f"LFS object {value['oid']} was not uploaded"})
                        return
                    files[value["path"]] = _pointer(value["oid"], value["size"])
                case "deletedFile":
                    files[value["path"]] = None
        parent = header.get("parentCommit")
        if parent and parent != self.hub.git(repo_id, "rev-parse", branch):
            self.answer(412, {"error": "A commit has happened since."})
            return
        commit = self.hub.commit(repo_id, branch, files, header["summary"])
        self.answer(
            200, {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit}"}
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":  # a Hub to try things on: python tests/hubserver.py FOLDER
    here = Path(sys.argv[1])
    with hub(here, olah_cli(here)) as running:
        print(f"HF_ENDPOINT={running.url} HF_TOKEN={TOKEN} HF_HUB_DISABLE_XET=1", flush=True)
        threading.Event().wait()
