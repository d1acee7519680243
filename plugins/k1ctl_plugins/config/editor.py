"""Edit a copy of the configuration in the user's editor until it is right or given up."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from k1ctl.config import parse_text
from k1ctl.config_change import Change, read_text, replace_whole
from k1ctl.errors import ConfigError, K1ctlError, NotFoundError
from k1ctl.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from k1ctl.workspace import Workspace


def editor_command(environ: Mapping[str, str]) -> list[str]:
    """The words of VISUAL, else EDITOR, as a shell would split them. Raises ConfigError, NotFoundError."""
    import shlex

    from k1ctl.programs import runnable, which

    for name in ("VISUAL", "EDITOR"):
        text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            words = shlex.split(text)
        except ValueError as exc:
            raise ConfigError(f"{name} cannot be split into words: {exc}", code="no-editor") from exc
        program = words[0] if os.sep in words[0] and runnable(words[0]) else which(words[0], environ)
        if not program:
            raise NotFoundError(f"the editor {words[0]} of {name} is not there", hint=f"check {name}")
        return [program, *words[1:]]
    raise ConfigError("no editor is set", hint="set VISUAL or EDITOR, or use k1ctl config set", code="no-editor")


def edit(workspace: Workspace, ask: Callable[[ConfigError], bool] | None, *, dry_run: bool = False) -> Change:
    """Let the user edit a copy (0600, in the folder for temporary files), check it, and put it in the file's place.

    ``ask`` is called with what is wrong and says whether to edit again; None: nobody is there to ask. A copy that is
    not taken over stays, and is named. Raises ConfigError, NotFoundError, BusyError, K1ctlError.
    """
    import shutil
    import tempfile

    argv = editor_command(os.environ)
    before = read_text(workspace)
    folder = tempfile.mkdtemp(prefix="k1ctl-config-")
    copy = os.path.join(folder, "k1ctl.toml")
    with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(before.encode())
    keep = True
    try:
        after = _edited(argv, copy, before, ask)
        if dry_run or after == before:
            change = Change(os.path.realpath(workspace.config_file), (), before, after, [])
        else:
            change = replace_whole(workspace, before, after, copy)
        keep = False
        return change
    except BaseException as exc:  # also ^C, a full disk, a file that is write-protected
        if not _holds(copy, before) and not (isinstance(exc, K1ctlError) and copy in f"{exc.message} {exc.hint}"):
            say(f"your version is {copy}")
        raise
    finally:
        if not keep or _holds(copy, before):
            shutil.rmtree(folder, ignore_errors=True)


def _edited(argv: list[str], copy: str, before: str, ask: Callable[[ConfigError], bool] | None) -> str:
    """What the user left in the copy, once it is right."""
    while True:
        status = _run([*argv, copy])
        if status:
            hint = "nothing was changed" if _holds(copy, before) else f"nothing was changed; the copy is {copy}"
            raise K1ctlError(f"the editor {argv[0]} ended with {status}", hint=hint, code="editor-failed")
        try:
            with open(copy, "rb") as f:
                after = f.read().decode()
            if after != before:
                parse_text(after, copy)
            return after
        except FileNotFoundError:
            text = f"the editor left no {copy}"
            raise K1ctlError(text, hint="nothing was changed", code="editor-failed") from None
        except UnicodeDecodeError as exc:
            wrong = ConfigError(f"{copy}: not UTF-8 at byte {exc.start}")
        except ConfigError as exc:
            wrong = exc
        if ask is None or not ask(wrong):
            raise ConfigError(wrong.message, hint=f"nothing was changed; your version is {copy}", copy=copy)


def _run(argv: list[str]) -> int:
    """Run the editor on this terminal; its exit code. ^C is the editor's affair while it runs."""
    import signal
    import subprocess

    old = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        # stdout is for our data: where it is no terminal the editor draws on stderr
        return subprocess.run(argv, stdout=None if sys.stdout.isatty() else sys.stderr.fileno()).returncode
    finally:
        signal.signal(signal.SIGINT, old)


def _holds(path: str, text: str) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read() == text.encode()
    except OSError:
        return True
