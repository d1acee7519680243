"""Files filled in for one worktree: its ports, its name, its paths, its branch, and variables of the caller.

``{{ port }}``, ``{{ port + 3 }}``, ``{{ workspace }}``, ``{{ path }}``, ``{{ root }}``, ``{{ branch }}`` and
``{{ env:NAME }}`` are replaced, ``{{ '{{' }}`` by two braces; nothing is evaluated, and anything else in such braces on
one line is an error. Results may hold secrets: 0600, only where git ignores them, never printed.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl import ports
from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.files import read_bytes, read_json, write_json
from k1ctl.git import call
from k1ctl.setup import TEMPLATES, StepReport
from k1ctl.units import format_size
from k1ctl_plugins.worktree import place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_BRACES = re.compile(rb"\{\{(\s*'\{\{'\s*|[^{}\n]*)\}\}")
_PORT = re.compile(r"port\s*(?:\+\s*([0-9]{1,5}))?")
_WORDS = "port, port + N, workspace, path, root, branch, env:NAME, and '{{' for the braces themselves"
_SHOWN = 40  # characters of what stands in braces that an error repeats
_LARGEST = 16 * 1024**2  # bytes; who writes a template is far from it


class Template(NamedTuple):
    """One template: ``file`` is its path below the folder of templates, and that of its result in the worktree."""

    file: str
    source: str


class _Wrong(K1ctlError):
    code = "template-wrong"


def find(workspace: Workspace, config: Config) -> list[Template]:
    """The templates of the root, in order; what is no file, as a link to a folder, is among them and not followed.

    Raises ConfigError when worktree.templates is a folder that holds more than templates.
    """
    folder, found = _folder(workspace, config), list[Template]()
    if folder and place.within(workspace.ops_path("x"), folder):
        raise ConfigError(
            f"worktree.templates: {folder} holds ops/, so more than templates",
            hint=f"set it to a folder of its own in {config.path}",
        )
    for parent, below, names in os.walk(folder) if folder else ():
        below.sort()
        links = [name for name in below if os.path.islink(os.path.join(parent, name))]
        for name in sorted([*names, *links]):
            source = os.path.join(parent, name)
            found.append(Template(os.path.relpath(source, folder), source))
    return found


def _folder(workspace: Workspace, config: Config) -> str:
    given = config.get("worktree", "templates")
    return os.path.join(workspace.root, os.path.expanduser(given)) if given else ""


def fill(data: bytes, source: str, value: Callable[[str], str]) -> bytes:
    """``data`` with what ``value`` says of each word in double braces. Raises K1ctlError naming ``source`` and line."""

    def replace(match: re.Match[bytes]) -> bytes:
        word = os.fsdecode(match[1]).strip()
        if word == "'{{'":
            return b"{{"
        try:
            return os.fsencode(value(word))
        except _Wrong as exc:
            line = data.count(b"\n", 0, match.start()) + 1
            raise _Wrong(f"{source}:{line}: {exc.message}", hint=exc.hint, file=source, line=line) from exc

    return _BRACES.sub(replace, data)


class Facts:
    """What a template may ask of this worktree; ports are leased and the branch looked up when the first one asks."""

    def __init__(
        self, workspace: Workspace, config: Config, environ: Mapping[str, str], *, dry_run: bool = False
    ) -> None:
        self.workspace, self.config, self.environ, self.dry_run = workspace, config, environ, dry_run
        self._ports: ports.Ports | None = None
        self._branch: str | None = None

    def value(self, word: str) -> str:
        """What stands for ``word``. Raises K1ctlError."""
        asked = _PORT.fullmatch(word)
        if asked:
            return self._port(int(asked[1] or 0))
        if word.startswith("env:"):
            return self._variable(word[4:].strip())
        if word == "branch":
            return self._branch_name()
        if word in ("workspace", "path", "root"):
            return str({"workspace": self.workspace.name}.get(word) or getattr(self.workspace, word))
        word = word if len(word) <= _SHOWN else f"{word[:_SHOWN]}..."
        raise _Wrong(f"{{{{ {word} }}}} is not known", hint=f"there are {_WORDS}")

    def _port(self, offset: int) -> str:
        if self._ports is None:
            if self.dry_run:
                held = ports.known(self.workspace, self.environ)
                return str(held.first + offset) if held else "PORT"
            self._ports = ports.lease(self.workspace, self.config, self.environ)
        if offset >= self._ports.count:
            raise _Wrong(
                f"port + {offset} is not one of this worktree's {self._ports.count} ports",
                hint="ports.count says how many a worktree has",
            )
        return str(self._ports.first + offset)

    def _variable(self, name: str) -> str:
        if name not in self.environ:
            raise _Wrong(f"the variable {name} is not set", hint="set it for the call of k1ctl worktree setup")
        return self.environ[name]

    def _branch_name(self) -> str:
        if self._branch is None:
            done = call(["symbolic-ref", "--quiet", "--short", "HEAD"], self.workspace.path)
            self._branch = done.stdout.rstrip("\n")
        return self._branch


class _Memory:
    """The digests of what was written, by file; noted before it is, so that a kill in between is no stranger's edit."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = place.memory(workspace, TEMPLATES)
        value = read_json(self.path)
        self.known: dict[str, list[str]] = value if isinstance(value, dict) else {}

    def note(self, file: str, digests: list[str]) -> None:
        if self.known.get(file) != digests:
            self.known[file] = digests
            write_json(self.path, self.known, mode=0o600)


def apply(workspace: Workspace, config: Config, environ: Mapping[str, str], *, dry_run: bool = False) -> StepReport:
    """Fill in every template whose result is not there, or is what an earlier call wrote and would be another now.

    Left alone: files that somebody edited or made, and places that git does not ignore or that lead out of the
    worktree. Raises K1ctlError naming file and line of what cannot be filled in; the others are written all the same.
    """
    found = find(workspace, config)
    if not workspace.git_dir or not found:
        folder = _folder(workspace, config)
        lost = config.origin("worktree", "templates") != "default" and folder and not os.path.isdir(folder)
        return StepReport(False, f"no template: {folder} is not there" if lost else "no template", _details())
    facts, memory = Facts(workspace, config, environ, dry_run=dry_run), _Memory(workspace)
    written, current, edited = list[str](), list[str](), list[str]()
    skipped, wrong = list[dict[str, str]](), list[K1ctlError]()
    for template in found:
        reason = _no_template(template.source) or _no_place(workspace, template.file)
        if reason:
            skipped.append({"file": template.file, "reason": reason})
            continue
        try:
            data = fill(read_bytes(template.source) or b"", template.source, facts.value)
        except K1ctlError as exc:
            wrong.append(exc)
            continue
        state = _state(os.path.join(workspace.path, template.file), data, memory.known.get(template.file, []))
        (written if state == "write" else edited if state == "edited" else current).append(template.file)
        if not dry_run and state != "edited":
            _write(workspace, template.file, data, memory, state)
    details = _details(written, current, edited, skipped)
    if wrong:
        rest = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise K1ctlError(f"{wrong[0].message}{rest}", hint=wrong[0].hint, code=wrong[0].code, **details)
    return StepReport(bool(written), _summary(details, dry_run), details)


def _no_template(source: str) -> str:
    """Why the file cannot be a template; "" when it can."""
    if os.path.isdir(source):
        return "its template is a link to a folder"
    if not os.path.isfile(source):
        return "its template is no file"
    if not os.access(source, os.R_OK):
        return "its template may not be read"
    return f"its template is larger than {format_size(_LARGEST)}" if os.path.getsize(source) > _LARGEST else ""


def _no_place(workspace: Workspace, file: str) -> str:
    """Why the result may not be put there; "" when it may."""
    target = os.path.join(workspace.path, file)
    if ".git" in file.casefold().split(os.sep):
        return "it belongs to git"
    if not place.within(os.path.dirname(target) + "/x", workspace.path):
        return "its folder leads out of this worktree"
    if os.path.islink(target):
        return "it is a link there"
    if os.path.lexists(target) and not os.path.isfile(target):
        return "it is no file there"
    if call(["check-ignore", "-z", "--stdin"], workspace.path, stdin=f"{file}\0").returncode:
        return "git does not ignore it here"
    return ""


def _state(target: str, data: bytes, known: list[str]) -> str:
    """``write``, ``current`` (it has this content), or ``edited`` (what is there is not what we wrote)."""
    there = read_bytes(target)
    if there is None:
        return "write"
    if there == data:
        return "current"
    return "write" if _digest(there) in known else "edited"


def _write(workspace: Workspace, file: str, data: bytes, memory: _Memory, state: str) -> None:
    digest = _digest(data)
    if state == "write":
        target = os.path.join(workspace.path, file)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        memory.note(file, [*{*memory.known.get(file, []), digest}])
        place.write_secret(workspace, target, data)
    memory.note(file, [digest])


def _digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _details(
    written: Sequence[str] = (),
    current: Sequence[str] = (),
    edited: Sequence[str] = (),
    skipped: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    return {"written": [*written], "current": [*current], "edited": [*edited], "skipped": [*skipped]}


def _summary(details: dict[str, Any], dry_run: bool) -> str:
    verb = "would be filled in" if dry_run else "filled in"
    parts = [f"{verb}: {', '.join(details['written'])}"] * bool(details["written"])
    parts += [f"up to date: {', '.join(details['current'])}"] * bool(details["current"])
    parts += [f"kept, edited since: {', '.join(details['edited'])}"] * bool(details["edited"])
    parts += [f"not filled in: {row['file']} ({row['reason']})" for row in details["skipped"]]
    return "; ".join(parts)
