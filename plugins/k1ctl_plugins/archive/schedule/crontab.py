"""Our lines in the user's crontab, between two comments that name the root; every other byte stays what it is.

The table is read and replaced through crontab(1) only: where cron keeps it, and who may write there, differs between
systems. cron's environment has next to nothing in it, so the script is named by its absolute path.
"""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError, K1ctlError, NotFoundError
from k1ctl.files import Locked
from k1ctl.programs import which
from k1ctl.workspace import host_dir

_SECONDS = 20.0
_LIMIT = 990  # bytes of a command; Vixie's cron takes 999 (MAX_COMMAND, cron.h)
_EMPTY = (b"no crontab", b"no such file")  # what crontab -l says on systems where there is none yet


class CronError(K1ctlError):
    """crontab(1) did not do what it was asked to."""

    code = "crontab-failed"


def quoted(path: str) -> bytes:
    """``path`` for sh in a crontab. An unescaped ``%`` is a newline there (crontab(5)), and not every cron removes the
    backslash that escapes one: so it is written without. Raises ConfigError for what no line of a table can hold."""
    data = os.fsencode(path)
    word = b"'" + data.replace(b"'", b"'\\''").replace(b"%", b"'\"$(printf '\\045')\"'") + b"'"
    if b"\n" in data or b"\r" in data or len(word) > _LIMIT:
        raise ConfigError(f"{path!r} cannot stand in a crontab", hint="on a Mac: k1ctl archive schedule --launchd")
    return word


def marks(root: str) -> tuple[bytes, bytes]:
    """The comments before and behind the line of ``root``."""
    name = os.fsencode(root)
    return b"# k1ctl archive schedule of " + name + b": begin", b"# k1ctl archive schedule of " + name + b": end"


def block(root: str, script: str, fields: str) -> bytes:
    """Our lines, each with its newline. Raises ConfigError."""
    begin, end = marks(root)
    return b"%b\n%b %b\n%b\n" % (begin, fields.encode(), quoted(script), end)


def find(table: bytes, root: str) -> tuple[int, int] | None:
    """Where our lines stand in ``table``; None when they do not. Raises ConfigError when a comment of them is gone."""
    begin, end = marks(root)
    at, offset = {}, 0
    for line in table.splitlines(keepends=True):
        word = line.rstrip(b"\r\n")
        if word in (begin, end):
            if word in at:
                raise _torn(root)
            at[word] = (offset, offset + len(line))
        offset += len(line)
    if not at:
        return None
    if len(at) < 2 or at[end][0] < at[begin][0]:
        raise _torn(root)
    return at[begin][0], at[end][1]


def _torn(root: str) -> ConfigError:
    return ConfigError(
        f"the crontab has not one begin and one end comment of k1ctl for {root}",
        hint="crontab -e: take the lines of k1ctl archive schedule out, then install it anew",
        code="crontab-torn",
    )


def changed(table: bytes, root: str, lines: bytes) -> bytes:
    """``table`` with ``lines`` in the place of ours, or at its end; b"" takes ours away. Raises ConfigError."""
    there = find(table, root)
    if there is not None:
        return table[: there[0]] + lines + table[there[1] :]
    if lines and table and not table.endswith(b"\n"):
        table += b"\n"
    return table + lines


def installed(table: bytes, root: str) -> bytes:
    """Our lines as they stand in ``table``, b"" when they do not. Raises ConfigError."""
    there = find(table, root)
    return table[there[0] : there[1]] if there else b""


def read() -> bytes:
    """The user's crontab; b"" when there is none. Raises NotFoundError, CronError.

    A crontab that could not be read must not be taken for an empty one: it would be replaced.
    """
    code, out, said = _crontab("-l")
    if code == 0:
        return out
    if not out and any(word in said.lower() for word in _EMPTY):
        return b""
    raise _failed("-l", code, said)


def replace(root: str, lines: bytes) -> bool:
    """Put ``lines`` in the place of ours; whether anything changed. One k1ctl at a time, and read back afterwards.

    Raises as `read`, ConfigError.
    """
    with Locked(os.path.join(host_dir(), "crontab.lock")):
        before = read()
        after = changed(before, root, lines)
        if after == before:
            return False
        code, _, said = _crontab("-", table=after)
        if code:
            raise _failed("-", code, said)
        if not read().endswith(after):  # some put lines of their own before it, each time
            raise CronError("crontab took the table, but does not show it", hint="crontab -l shows what it has")
    return True


def _failed(argument: str, code: int, said: bytes) -> CronError:
    lines = said.decode(errors="replace").strip().splitlines()
    return CronError(f"crontab {argument}: {lines[-1] if lines else f'exit {code}'}")


def _crontab(argument: str, table: bytes = b"") -> tuple[int, bytes, bytes]:
    import subprocess

    program = which("crontab")
    if not program:
        raise NotFoundError(
            "crontab was not found", hint="install cron (Debian: cron); --print shows the line for another scheduler"
        )
    env = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run([program, argument], input=table, capture_output=True, env=env, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise CronError(f"crontab {argument} took longer than {_SECONDS:g} s") from None
    return done.returncode, done.stdout, done.stderr
