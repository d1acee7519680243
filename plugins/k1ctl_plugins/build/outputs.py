"""What a build of kind ``npm`` or ``command`` leaves in its project: named in ``outputs``, never outside of it."""

from __future__ import annotations

import os

from k1ctl.artifacts import OWN
from k1ctl.errors import ConfigError, NotFoundError, WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.builds import BuildCommand, BuildRequest

_TICK_NS = 50_000_000  # a filesystem's clock runs 4 to 10 ms behind


def check_project(request: BuildRequest) -> None:
    """Refuse a project folder that is missing or leads out of the worktree. Raises ConfigError."""
    project, tree = request.project, request.workspace.path
    if not os.path.isdir(project):
        hint = f"set path in [targets.{request.target}] to the project's folder in the worktree"
        raise ConfigError(f"{project} is not there", hint=hint, code="no-project", path=project)
    if not inside(project, tree):
        raise ConfigError(f"{project} leads out of the worktree {tree}", code="outside-tree", path=project)


def check_patterns(request: BuildRequest, default: tuple[str, ...] = ()) -> list[str]:
    """The target's ``outputs``. Raises ConfigError for none, and for one that is or leaves the project."""
    key = f"targets.{request.target}.outputs"
    patterns = list(request.settings["outputs"]) or list(default)
    if not patterns:
        raise ConfigError(f"{key} names nothing to keep", hint=f'set it, as in outputs = ["{"build/app.bin"}"]')
    for pattern in patterns:
        plain = os.path.normpath(pattern)
        if not pattern or os.path.isabs(plain) or plain == "." or plain.split(os.sep)[0] == "..":
            raise ConfigError(f"{key}: {pattern!r} is not a path below the project {request.project}", key=key)
    return patterns


def matches(project: str, patterns: list[str]) -> list[str]:
    """The paths, relative to the project, that are there: pattern by pattern, each one's sorted."""
    from glob import glob

    found: list[str] = []
    for pattern in patterns:
        plain = os.path.normpath(pattern)
        exact = os.path.lexists(os.path.join(project, plain))  # a name may hold what a pattern means otherwise
        found += [plain] if exact else sorted(glob(plain, root_dir=project, recursive=True))
    return list(dict.fromkeys(found))


def check_places(request: BuildRequest, patterns: list[str]) -> list[str]:
    """The matches that are there; a build would write through one that leads out. Raises WrongDataError for it."""
    project = request.project
    found = matches(project, patterns)
    for path in found:
        if not inside(os.path.join(project, path), project):
            real = os.path.realpath(os.path.join(project, path))
            hint = "remove the link (the link only)"
            raise WrongDataError(f"{path} leads out of the project, to {real}", hint=hint, code="output-leaves-project")
    return found


def collect(request: BuildRequest, patterns: list[str]) -> dict[str, str]:
    """{name in the artifact: path}: a file keeps its name, a folder becomes ``<name>.tar``; paths name what would
    have the same name.

    Raises WrongDataError when the first pattern has no match, or a match leads out of the project.
    """
    project = request.project
    if not matches(project, patterns[:1]):
        raise WrongDataError(
            f"the build left no {os.path.join(project, patterns[0])}",
            hint=f"outputs of [targets.{request.target}] says what it leaves; see k1ctl build log",
            code="no-output",
        )
    found = check_places(request, patterns)
    names = [_name(project, path, os.path.basename(path)) for path in found]
    if len(set(names)) < len(names):
        names = [_name(project, path, path.replace(os.sep, "__")) for path in found]
    return {name: os.path.join(project, path) for name, path in zip(names, found, strict=True)}


def note_unwritten(command: BuildCommand, files: dict[str, str]) -> None:
    """A note in ``command`` when nothing of ``files`` was written since it began: the tool found all up to date, or it
    writes elsewhere and these are of another build. By ctime, which a copy that keeps times sets, too."""
    if not any(_written(path, command.began_ns - _TICK_NS) for path in files.values()):
        command.notes.append("this build wrote none of its outputs: what is kept lay there before it")


def _written(path: str, since_ns: int) -> bool:
    below = (os.path.join(base, name) for base, folders, names in os.walk(path) for name in (*folders, *names))
    return any(os.lstat(each).st_ctime_ns >= since_ns for each in (path, *below))


def _name(project: str, path: str, name: str) -> str:
    name = f"{name}.tar" if os.path.isdir(os.path.join(project, path)) else name
    return f"{name}.output" if name in OWN else name


def remove(request: BuildRequest, patterns: list[str]) -> None:
    """Take earlier outputs away, of a link only the link. Raises ConfigError where git keeps files of them."""
    project = request.project
    found = matches(project, patterns)
    for path in found:
        if not inside(os.path.join(project, os.path.dirname(path)), project):
            raise WrongDataError(f"{path} leads out of the project", code="output-leaves-project")
    kept = _tracked(project, found) if found else []
    if kept:
        raise ConfigError(
            f"--clean would remove {kept[0]}, which git keeps",
            hint=f"name in outputs of [targets.{request.target}] only what a build makes",
            code="tracked-output",
        )
    for path in found:
        full = os.path.join(project, path)
        if os.path.isdir(full) and not os.path.islink(full):
            import shutil

            shutil.rmtree(full)
        elif os.path.lexists(full):
            os.unlink(full)


def _tracked(project: str, paths: list[str]) -> list[str]:
    """The files of ``paths`` that are in git's index."""
    import subprocess

    from k1ctl.programs import which

    git = which("git")
    if not git:
        raise NotFoundError("git was not found, so --clean cannot tell what is safe to remove", hint="install git")
    argv = [git, "--literal-pathspecs", "-C", project, "ls-files", "-z", "--", *paths]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise ConfigError(f"git cannot say what it keeps: {done.stderr.decode(errors='replace').strip()}")
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def inside(path: str, top: str) -> bool:
    """Whether ``path``, all links followed, is ``top`` or lies below it."""
    real, base = os.path.realpath(path), os.path.realpath(top)
    return real == base or real.startswith(base.rstrip("/") + "/")
