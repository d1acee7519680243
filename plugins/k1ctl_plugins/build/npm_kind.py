"""The kind of build ``npm``: a script of ``package.json``, with the dependencies that the lock file names."""

from __future__ import annotations

import os

from k1ctl.builds import BuildCommand, BuildKind, BuildReader, BuildRequest
from k1ctl.errors import ConfigError, NotFoundError, UsageError
from k1ctl.files import read_json
from k1ctl.programs import find_tool, path_for
from k1ctl_plugins.build import outputs
from k1ctl_plugins.build.lines import LineReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIST = ("dist",)
_LOCKS = ("npm-shrinkwrap.json", "package-lock.json")  # npm takes the first that is there
_HIDDEN = os.path.join("node_modules", ".package-lock.json")  # what npm notes of what it installed


class NpmKind(BuildKind):
    """Web applications built by npm."""

    name = "npm"
    releases = True
    every_output_counts = True

    def prepare(self, request: BuildRequest) -> BuildCommand:
        if request.variant:
            raise UsageError(f"target {request.target} is of kind npm, which has no environments (--env)")
        outputs.check_project(request)
        outputs.check_patterns(request, DIST)
        script = _script(request)
        check_modules(request)
        npm = find_tool("npm")
        if not npm:
            raise NotFoundError("npm was not found", hint="install Node.js", tool="npm")
        env = {**os.environ, "PATH": path_for(npm), "PWD": os.path.realpath(request.project)}
        if request.release:
            env["NODE_ENV"] = "production"
        return BuildCommand([npm, "run", script], request.project, env)

    def begin(self, request: BuildRequest, command: BuildCommand) -> None:
        """Looks again: the wait may have been long."""
        outputs.check_project(request)
        check_modules(request)
        if request.clean:
            outputs.remove(request, outputs.check_patterns(request, DIST))
        outputs.check_places(request, outputs.check_patterns(request, DIST))

    def reader(self, request: BuildRequest) -> BuildReader:
        return LineReader()

    def outputs(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        files = outputs.collect(request, outputs.check_patterns(request, DIST))
        outputs.note_unwritten(command, files)
        return files

    def tool_versions(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        """npm's version, read from its installation: asking npm itself takes 100 ms."""
        npm = os.path.realpath(command.argv[0])
        told = read_json(os.path.join(os.path.dirname(os.path.dirname(npm)), "package.json"))
        version = told.get("version") if isinstance(told, dict) and told.get("name") == "npm" else None
        return {"npm": str(version or "unknown")}


def _script(request: BuildRequest) -> str:
    """The script to run. Raises ConfigError when ``package.json`` does not have it."""
    settings = request.settings
    script = str((request.release and settings["script_release"]) or settings["script"])
    file = os.path.join(request.project, "package.json")
    package = read_json(file)
    if not isinstance(package, dict):
        what = "is not a JSON document" if os.path.exists(file) else "is not there"
        hint = f"set path in [targets.{request.target}] to the folder of package.json"
        raise ConfigError(f"{file} {what}", hint=hint, code="no-project", file=file)
    scripts = package.get("scripts")
    there = sorted(scripts) if isinstance(scripts, dict) else []
    if script not in there:
        hint = f"there are: {', '.join(there) or 'none'}; script in [targets.{request.target}] names another"
        raise ConfigError(f"{file} has no script {script!r}", hint=hint, code="no-script", script=script)
    return script


def check_modules(request: BuildRequest) -> None:
    """Refuse ``node_modules`` that lead out of the tree, are missing, or are not what the lock file names.

    The lock file is the project's, else that of the nearest folder above it in the worktree (npm workspaces). Nothing
    is installed here: that is `k1ctl worktree setup`. Raises ConfigError.
    """
    tree, folder = os.path.realpath(request.workspace.path), os.path.realpath(request.project)
    lock = ""
    while not lock:
        modules = os.path.join(folder, "node_modules")
        if os.path.islink(modules) and not outputs.inside(modules, tree):
            raise ConfigError(
                f"{modules} is a link to {os.path.realpath(modules)}, outside this worktree: "
                "`npm ci` there or here would empty it for both",
                hint="k1ctl worktree setup removes the link (the link only) and installs",
                code="linked-node-modules",
                path=modules,
            )
        lock = next((p for name in _LOCKS if os.path.isfile(p := os.path.join(folder, name))), "")
        if not lock and folder == tree:
            return
        folder = folder if lock else os.path.dirname(folder)
    wanted = _packages(lock)
    wrong = differences(wanted, _packages(os.path.join(folder, _HIDDEN))) if wanted else []
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ConfigError(
            f"node_modules is not what {lock} says: {wrong[0]}{more}",
            hint=f"k1ctl worktree setup installs it (or npm ci in {folder})",
            code="node-modules-stale",
            differences=wrong[:20],
        )


def _packages(file: str) -> dict[str, Any]:
    """The packages of a lock file of version 2 or 3 (npm-docs, package-lock.json, "packages"): {place: facts}."""
    document = read_json(file)
    packages = document.get("packages") if isinstance(document, dict) else None
    return packages if isinstance(packages, dict) else {}


def differences(wanted: dict[str, Any], installed: dict[str, Any]) -> list[str]:
    """What of ``wanted`` (a lock file's packages) is missing or another in ``installed``, and what is too much.

    Links to other packages of the project and packages that may be missing on this host count only when they are
    there and another.
    """
    wrong = []
    for place, facts in wanted.items():
        if not place.startswith("node_modules/") and "/node_modules/" not in place:
            continue  # the project itself, and the packages of a workspace in their own folders
        there = installed.get(place)
        name = place.rpartition("node_modules/")[2]
        if there is None:
            if not (facts.get("optional") or facts.get("devOptional") or facts.get("peer") or facts.get("link")):
                wrong.append(f"{name} is missing")
        elif there.get("version") != facts.get("version"):
            wrong.append(f"{name} is {there.get('version')}, not {facts.get('version')}")
        elif _other(there, facts):
            wrong.append(f"{name} {facts.get('version')} is not the one that was locked (integrity)")
    for place in installed:
        if place not in wanted:
            wrong.append(f"{place.rpartition('node_modules/')[2]} is too much")
    return wrong


def _other(there: dict[str, Any], facts: dict[str, Any]) -> bool:
    both = there.get("integrity"), facts.get("integrity")
    return None not in both and both[0] != both[1]
