"""What a ``node_modules`` depends on, as one name: equal names, equal packages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.errors import K1ctlError
from k1ctl.files import read_bytes, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCKS = ("npm-shrinkwrap.json", "package-lock.json")  # npm takes the first that is there
# Keys of .npmrc and of the environment that are secret, or change no package: they change no name.
_SECRET = ("_auth", "_authtoken", "_password", "username", "email", "otp", "cert", "key", "certfile", "keyfile")
_NOISE = (
    *("cache", "user_agent", "userconfig", "globalconfig", "init_module", "local_prefix", "global_prefix", "prefix"),
    *("node_gyp", "noproxy", "npm_version", "loglevel", "audit", "fund", "update_notifier", "progress", "yes", "color"),
)
_OF_ITSELF = (
    *(
        "scripts",
        "description",
        "keywords",
        "author",
        "contributors",
        "maintainers",
        "funding",
        "license",
        "repository",
    ),
    *("homepage", "bugs", "main", "module", "types", "typings", "exports", "files", "browser", "type", "sideEffects"),
    *("eslintConfig", "prettier", "jest", "babel", "browserslist", "stylelint", "lint-staged", "husky"),
)
_ASK = "process.stdout.write([process.version,process.versions.modules,process.platform,process.arch].join(' '))"


class Toolchain(NamedTuple):
    """``node``: version, ABI, platform and architecture; ``npm`` its version."""

    node: str
    npm: str


def toolchain(npm: str, env: Mapping[str, str], cwd: str) -> Toolchain:
    """The versions that are run in ``cwd``: a shim of volta, asdf or mise chooses them there.

    Raises K1ctlError (node-failed) when node does not answer.
    """
    node = _said(["node", "-e", _ASK], env, cwd)
    home = os.path.dirname(os.path.dirname(os.path.realpath(npm)))
    told = read_json(os.path.join(home, "package.json"))
    version = told.get("version") if isinstance(told, dict) and told.get("name") == "npm" else None
    return Toolchain(node, str(version or _said([npm, "--version"], env, cwd)))  # reading it saves 200 ms


def _said(argv: list[str], env: Mapping[str, str], cwd: str) -> str:
    import subprocess

    from k1ctl.programs import which

    program = argv[0] if os.path.isabs(argv[0]) else which(argv[0], env)
    try:
        done = subprocess.run(
            [program, *argv[1:]], env=dict(env), cwd=cwd, capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise K1ctlError(f"{argv[0]} does not answer: {exc}", code="node-failed") from None
    return done.stdout.strip()


def sources(folder: str) -> str:
    """SHA-256 over the lock files and package.json of ``folder``."""
    import hashlib

    total = hashlib.sha256()
    for name in ("package-lock.json", "package.json"):
        total.update(read_bytes(os.path.join(folder, name)) or b"")
        total.update(b"\0")
    for name in ("npm-shrinkwrap.json", "pnpm-lock.yaml"):
        total.update(read_bytes(os.path.join(folder, name)) or b"")
    return total.hexdigest()


def manifest(folder: str) -> str:
    """``package.json`` without what changes no package: an edit of a script asks for no other packages."""
    text = (read_bytes(os.path.join(folder, "package.json")) or b"").decode(errors="surrogateescape")
    package = read_json(os.path.join(folder, "package.json"))
    if not isinstance(package, dict):
        return text
    import json

    return json.dumps({name: value for name, value in package.items() if name not in _OF_ITSELF}, indent=2)


def _libc() -> str:
    """What a container with a cache of the host's has of its own."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def key(folder: str, tools: Toolchain, environ: Mapping[str, str]) -> str:
    """The name of what ``npm ci`` makes in ``folder`` with these tools and this environment (32 hex digits)."""
    import hashlib

    parts = [manifest(folder), _libc(), *tools, *_environment(environ)]
    parts += [(read_bytes(os.path.join(folder, name)) or b"").decode(errors="surrogateescape") for name in LOCKS]
    own = {name.lower(): value for name, value in environ.items()}
    user = own.get("npm_config_userconfig") or os.path.expanduser("~/.npmrc")
    for file in (os.path.join(folder, ".npmrc"), user):
        parts += ["", *settings((read_bytes(file) or b"").decode(errors="replace"))]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]


def settings(text: str) -> list[str]:
    """The lines of an ``.npmrc`` that may change what is installed, secrets left out, sorted."""
    found = []
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if name.strip() and not name.startswith(("#", ";")) and _counts(name.strip()):
            found.append(f"{name.strip()}={value.strip()}")
    return sorted(found)


def _environment(environ: Mapping[str, str]) -> list[str]:
    """The variables that npm reads as settings (npm-config(7)), and NODE_ENV, which leaves out devDependencies."""
    own = {k.lower().removeprefix("npm_config_"): v for k, v in environ.items() if k.lower().startswith("npm_config_")}
    return [f"NODE_ENV={environ.get('NODE_ENV', '')}", *sorted(f"{k}={v}" for k, v in own.items() if _counts(k))]


def _counts(name: str) -> bool:
    plain = name.rpartition(":")[2].lower()
    return plain not in _SECRET and plain.replace("-", "_") not in _NOISE
