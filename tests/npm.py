"""npm for tests: a program that does in 5 ms what `npm ci` does, and a registry with one package for the real one."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

# As npm does, it empties node_modules first, writes .package-lock.json, links programs, and runs the project's scripts.
_NPM = """#!/bin/sh
echo "$PWD $*" >> "$FAKE_LOG"
case "$1" in
--version) echo 11.0.0 ;;
ci)
  [ -z "$FAKE_HANGS" ] || { trap '' INT; echo $$ > "$FAKE_HANGS"; sleep 60; }
  [ -z "$FAKE_FAILS" ] || { echo "npm error code EUSAGE" >&2; exit 1; }
  rm -rf node_modules
  mkdir -p node_modules/.bin node_modules/pkg/lib
  cp package-lock.json node_modules/.package-lock.json
  printf '#!/bin/sh\\necho %s\\n' "$(cat package-lock.json | wc -c)" > node_modules/pkg/cli
  chmod 755 node_modules/pkg/cli
  echo "module.exports = 1" > node_modules/pkg/lib/index.js
  echo "closed" > node_modules/pkg/lib/closed
  chmod 444 node_modules/pkg/lib/closed
  ln -s ../pkg/cli node_modules/.bin/cli
  echo "added 1 package" ;;
run) [ ! -d node_modules ] || echo "$3" >> node_modules/pkg/lib/index.js ;;
config) echo "${npm_config_ignore_scripts:-false}" ;;
install) mkdir -p node_modules; echo pnpm > node_modules/.modules.yaml; echo "Done in 1s" ;;
esac
"""
_NODE = '#!/bin/sh\nprintf "%s" "${FAKE_NODE:-v20.0.0 115 linux x64}"\n'


class Tools:
    """The stand-ins, first in PATH; ``calls`` is what npm and pnpm were called with, as (folder, words)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.log = folder / "log"
        for name in names:
            program = folder / "bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(_NODE if name == "node" else _NPM)
            program.chmod(0o755)
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")

    @property
    def calls(self) -> list[tuple[str, str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.partition(" ")[::2] for line in lines if not line.endswith("--version")]

    @property
    def words(self) -> list[str]:
        """The first word of each call, and of a script its name; questions left out."""
        said = [words.split() for _, words in self.calls]
        return [" ".join([w[0], *w[2:]] if w[0] == "run" else w[:1]) for w in said if w[0] != "config"]


def project(**package: Any) -> dict[str, str]:
    """package.json and package-lock.json of a project with one package."""
    manifest = {"name": "web", "version": "1.0.0", "dependencies": {"pkg": "1.0.0"}, **package}
    packages = {"": {k: manifest[k] for k in ("name", "version", "dependencies")}, "node_modules/pkg": {"version": "1"}}
    lock = {"name": "web", "version": "1.0.0", "lockfileVersion": 3, "packages": packages}
    return {"package.json": json.dumps(manifest), "package-lock.json": json.dumps(lock)}


def _tarball() -> bytes:
    """The package as npm pack makes it, with a program in it."""
    manifest = {"name": "pkg", "version": "1.0.0", "bin": {"cli": "cli.js"}, "main": "cli.js"}
    files = {
        "package/package.json": json.dumps(manifest),
        "package/cli.js": "#!/usr/bin/env node\nconsole.log('hello')\n",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


@contextmanager
def registry() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Serve the package on loopback; gives the files of a project that depends on it, and what was asked for."""
    tarball, asked = _tarball(), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(tarball)))
            self.end_headers()
            self.wfile.write(tarball)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        resolved = f"http://127.0.0.1:{server.server_port}/pkg-1.0.0.tgz"
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        files = project()
        lock = json.loads(files["package-lock.json"])
        facts = {"version": "1.0.0", "resolved": resolved, "integrity": integrity, "bin": {"cli": "cli.js"}}
        lock["packages"]["node_modules/pkg"] = facts
        yield {**files, "package-lock.json": json.dumps(lock)}, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
