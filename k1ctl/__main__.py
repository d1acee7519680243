"""The way in: tunes the interpreter, loads one command, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line in ``sys.argv``; returns the exit code. Never raises; what was printed is written out."""
    argv = sys.argv[1:]
    _open_missing()
    try:
        code = _run(argv)
    except BaseException as exc:
        from k1ctl.failure import report

        code = report(exc, argv)
    return _written(code)


def _open_missing() -> None:
    """Started with a standard descriptor closed (cron, daemons): else a pipe or a lock would get its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)


def program() -> int:
    """The console script: `main`, and gone at once where click was not needed."""
    code = main()
    if "click" not in sys.modules:  # the lean lane leaves nothing to tidy; Python's own tidying takes 2 ms
        os._exit(code)
    return code


def _run(argv: list[str]) -> int:
    if argv == ["--version"]:
        from k1ctl import __version__

        sys.stdout.write(f"k1ctl {__version__}\n")
        return 0
    if argv[:2] == ["queue", "run"]:
        from k1ctl.lane import try_lane

        code = try_lane(argv[2:])
        if code is not None:
            return code
    return _click(argv)


def _click(argv: list[str]) -> int:
    import gc

    gc.disable()
    from k1ctl.cli import cli

    gc.freeze()  # what the imports made is not walked again at exit: 6 ms of 37
    gc.enable()
    try:
        code = cli.main(args=argv, prog_name="k1ctl", standalone_mode=False)
    except SystemExit:
        if "PacifyFlush" in type(sys.stdout).__name__:  # click's own way out when the reader went away
            return 0
        raise
    return code if isinstance(code, int) else 0


def _written(code: int) -> int:
    """Flush stdout here, where a reader that went away costs nothing; at exit Python would print it and exit 120."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as exc:
        from k1ctl.failure import report

        return code or report(exc, [])
    return code


if __name__ == "__main__":
    sys.exit(program())
