"""From an exception to one line, a hint and an exit code; a bug leaves a report file instead of a traceback."""

from __future__ import annotations

import errno
import os
import sys

from k1ctl.errors import BusyError, ConfigError, K1ctlError, UsageError

_PRINTERS = ("k1ctl.output", "k1ctl.process.view", "k1ctl.__main__", "__main__", "click.utils")
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_ENVIRONMENT = {
    errno.EROFS: ("read-only", "the filesystem is read-only", "make it writable; [queue] dir moves the queue"),
    errno.EACCES: ("no-permission", "permission denied", "check who owns the folder"),
    errno.EPERM: ("no-permission", "operation not permitted", "check who owns the folder"),
    errno.ENOTDIR: ("in-the-way", "a file is where a folder belongs", "move it away"),
    errno.EISDIR: ("in-the-way", "a folder is where a file belongs", "move it away"),
    errno.ENAMETOOLONG: ("name-too-long", "a name is too long for the filesystem", "use shorter names"),
}


def report(exc: BaseException, argv: list[str]) -> int:
    """Print what went wrong (JSON on stdout when ``--json`` was asked for) and return the exit code."""
    if isinstance(exc, SystemExit):
        return exc.code if isinstance(exc.code, int) else (0 if exc.code is None else 1)
    if isinstance(exc, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    lost = _stdout_lost(exc)
    known = lost or _known(exc)
    if isinstance(known, int):
        return known
    known = known or _bug(exc, argv)
    from k1ctl.output import emit_json, say, style

    own = argv[: argv.index("--")] if "--" in argv else argv
    if "--json" in own and not lost:
        try:
            emit_json(known.document())
        except OSError as unsaid:
            _stdout_lost(unsaid)  # the sentence on stderr has to do
    say(f"{style('error', 'red', 'bold', stream=sys.stderr)}: {known.message}")
    if known.hint:
        say(f"{style('hint', 'cyan', stream=sys.stderr)}: {known.hint}")
    if known.details.get("prompt"):
        say(f"{style('prompt', 'cyan', stream=sys.stderr)}: {known.details['prompt']} has what to try, in order")
    return known.exit_code


def _stdout_lost(exc: BaseException) -> K1ctlError | None:
    """What to say when ``exc`` came from writing to stdout; what is printed later then goes nowhere."""
    if not isinstance(exc, OSError) or exc.filename is not None or not _was_printing(exc):
        return None
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    text = f"standard output cannot be written: {exc.strerror}"
    if exc.errno in _FULL:
        return BusyError(text, hint="free some space, or send it elsewhere", code="stdout-lost")
    return K1ctlError(text, hint="send it elsewhere", code="stdout-lost")


def _was_printing(exc: OSError) -> bool:
    """Whether the innermost frame is one that prints: an error of write(2) does not tell which file it was."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") in _PRINTERS


def known_error(exc: BaseException, argv: list[str]) -> K1ctlError:
    """``exc`` as an expected failure; what is not one becomes a bug with a report file."""
    known = _known(exc)
    return known if isinstance(known, K1ctlError) else _bug(exc, argv)


def of_system(exc: OSError) -> K1ctlError:
    """What the system refused, in words and with a hint where we have them; it is no bug of k1ctl."""
    known = _known(exc)
    place = f"{exc.filename}: " if exc.filename else ""
    return known if isinstance(known, K1ctlError) else K1ctlError(f"{place}{exc.strerror or exc}")


def words(exc: OSError | K1ctlError) -> str:
    """What went wrong, as a clause of a longer sentence."""
    return of_system(exc).message if isinstance(exc, OSError) else exc.message


def _known(exc: BaseException) -> K1ctlError | int | None:
    if isinstance(exc, K1ctlError):
        return exc
    if isinstance(exc, KeyboardInterrupt):
        return 130
    if isinstance(exc, OSError) and exc.errno in _FULL:
        hint = "free some space; nothing that was acknowledged is lost"
        return BusyError(f"{_FULL[exc.errno]}: {exc.filename or exc}", hint=hint, code="disk-full")
    if isinstance(exc, OSError) and (unusable := _host_folder(exc)):
        return unusable
    if isinstance(exc, OSError) and exc.errno in _ENVIRONMENT:
        code, text, hint = _ENVIRONMENT[exc.errno]
        return ConfigError(f"{text}: {exc.filename or exc}", hint=hint, code=code)
    if "click" in sys.modules:
        import click

        if isinstance(exc, click.Abort):
            return 130
        if isinstance(exc, click.exceptions.Exit):
            return exc.exit_code
        if isinstance(exc, click.exceptions.NoArgsIsHelpError):
            exc.show()
            return 2
        if isinstance(exc, click.UsageError):
            context = exc.ctx.command_path if exc.ctx else "k1ctl"
            return UsageError(exc.format_message(), hint=f"{context} --help")
        if isinstance(exc, click.ClickException):
            return K1ctlError(exc.format_message())
    return None


def _host_folder(exc: OSError) -> ConfigError | None:
    """The folder of the host's own state that cannot be made or written, whatever the system says to that."""
    from k1ctl.workspace import host_dir

    if not isinstance(exc.filename, str) or not os.path.isabs(exc.filename):
        return None
    path, host = os.path.join(os.path.abspath(exc.filename), ""), os.path.join(host_dir(), "")
    refused = path.startswith(host) and exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    if not refused and (os.path.isdir(host) or not (path.startswith(host) or host.startswith(path))):
        return None
    code, text, _ = _ENVIRONMENT.get(exc.errno or 0, ("no-host-folder", exc.strerror, ""))
    return ConfigError(
        f"the folder of this host's state cannot be used: {text}: {exc.filename}",
        hint="set K1CTL_HOST_DIR to a folder on a local disk that you may write",
        code=code,
    )


def _bug(exc: BaseException, argv: list[str]) -> K1ctlError:
    """Write a report file (0600) and name it; argv is left out past ``--``, where foreign secrets may stand."""
    import platform
    import traceback

    from k1ctl import __version__
    from k1ctl.files import write_atomic
    from k1ctl.units import rfc3339
    from k1ctl.workspace import host_dir

    own = argv[: argv.index("--")] if "--" in argv else argv
    text = "".join(traceback.format_exception(exc))
    lines = [f"k1ctl {__version__}", f"python {sys.version}", platform.platform(), rfc3339(), repr(own), "", text]
    path = os.path.join(host_dir(), "reports", f"{rfc3339().replace(':', '')}-{os.getpid()}.txt")
    try:
        write_atomic(path, "\n".join(lines), mode=0o600)
    except OSError:
        sys.stderr.write(text)
        path = "(it could not be written)"
    error = K1ctlError(
        f"a bug in k1ctl: {type(exc).__name__}: {exc}", hint=f"the report is in {path}", code="bug", report=path
    )
    error.exit_code = 70
    return error
