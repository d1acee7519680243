"""Whether a project's packages can be installed away from it: with its lock file, package.json and .npmrc alone."""

from __future__ import annotations

import os
from typing import Any

from k1ctl.files import read_bytes, read_json, write_atomic
from k1ctl_plugins.worktree.cache_key import LOCKS, manifest

# npm-scripts(7), "Life Cycle Operation Order", npm ci: the project's own, all after the packages are there.
SCRIPTS = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
# Packages whose install scripts read or change the project that they are installed for.
_REACHING = ("@prisma/client", "prisma", "husky", "lefthook", "simple-git-hooks", "yorkie", "pre-commit", "ghooks")


def obstacle(folder: str, top: str) -> str:
    """Why ``npm ci`` must run in ``folder`` itself, "" when it need not; ``top`` is the worktree around it."""
    package = read_json(os.path.join(folder, "package.json"))
    lock = next((read_json(p) for name in LOCKS if os.path.isfile(p := os.path.join(folder, name))), None)
    if not isinstance(package, dict) or not isinstance(lock, dict):
        return "package.json or the lock file is no JSON document"
    packages = lock.get("packages")
    if not isinstance(packages, dict):
        return "the lock file is of version 1"
    if package.get("workspaces"):
        return "it has npm workspaces"
    if _member(folder, top):
        return "a package.json above it has npm workspaces"
    if os.path.exists(os.path.join(folder, "binding.gyp")):
        return "it builds with node-gyp"
    if _own_file(folder):
        return f".npmrc names {_own_file(folder)} in the project"
    return next((why for place, facts in packages.items() if (why := _reaches(place, facts))), "")


def _own_file(folder: str) -> str:
    """A file of the project that ``.npmrc`` names relative to it, as ``cafile=certs/ca.pem``; "" without one."""
    lines = (read_bytes(os.path.join(folder, ".npmrc")) or b"").decode(errors="surrogateescape").splitlines()
    values = [line.partition("=")[2].strip().strip("\"'") for line in lines if not line.lstrip().startswith(("#", ";"))]
    own = [v for v in values if v and "\0" not in v and not os.path.isabs(v)]
    return next((v for v in own if os.path.isfile(os.path.join(folder, v))), "")


def _member(folder: str, top: str) -> bool:
    here = os.path.realpath(folder)
    while here != os.path.realpath(top) and here != os.path.dirname(here):
        here = os.path.dirname(here)
        above = read_json(os.path.join(here, "package.json"))
        if isinstance(above, dict) and above.get("workspaces"):
            return True
    return False


def _reaches(place: str, facts: Any) -> str:
    if not isinstance(facts, dict) or not place:
        return ""
    name = place.rpartition("node_modules/")[2]
    resolved = str(facts.get("resolved") or "")
    if facts.get("link") or resolved.startswith(("file:", ".")):
        return f"{name} lies in the project (file:)"
    if facts.get("hasInstallScript") and name in _REACHING:
        return f"the install script of {name} reads the project"
    return ""


def scripts(folder: str) -> list[str]:
    """The project's own scripts that ``npm ci`` runs when the packages are there, in its order."""
    package = read_json(os.path.join(folder, "package.json"))
    there = package.get("scripts") if isinstance(package, dict) else None
    known = there if isinstance(there, dict) else {}
    return [name for name in SCRIPTS if known.get(name)]


def prepare(folder: str, scratch: str) -> None:
    """Put into ``scratch`` what npm needs of ``folder``: the lock file, what of package.json is in the key, without
    scripts, and a link to ``.npmrc``, whose secrets are not copied."""
    write_atomic(os.path.join(scratch, "package.json"), manifest(folder))
    for name in LOCKS:
        data = read_bytes(os.path.join(folder, name))
        if data is not None:
            write_atomic(os.path.join(scratch, name), data)
    settings = os.path.join(os.path.realpath(folder), ".npmrc")
    if os.path.isfile(settings):
        os.symlink(settings, os.path.join(scratch, ".npmrc"))


def absolute(scratch: str) -> list[str]:
    """The files, relative, of packages with install scripts that name the folder they were built in: they may not
    work elsewhere. Only files under 1 MiB are read."""
    told = read_json(os.path.join(scratch, "node_modules", ".package-lock.json"))
    packages = told.get("packages") if isinstance(told, dict) else None
    built = [p for p, f in (packages or {}).items() if isinstance(f, dict) and f.get("hasInstallScript")]
    found, needle = [], os.fsencode(scratch)
    for place in built:
        for folder, _, files in os.walk(os.path.join(scratch, place)):
            for file in files:
                path = os.path.join(folder, file)
                small = not os.path.islink(path) and os.path.getsize(path) < 1 << 20
                if small and needle in (read_bytes(path) or b""):
                    found.append(os.path.relpath(path, scratch))
    return sorted(found)
