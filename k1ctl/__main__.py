"""The way in: tunes the interpreter, loads one command, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line in ``sys.argv``; returns the exit code."""
    argv = sys.argv[1:]
    if argv == ["--version"]:
        from k1ctl import __version__

        print(f"k1ctl {__version__}")  # noqa: T201 - before anything else is imported
        return 0
    try:
        if argv[:2] == ["queue", "run"]:
            from k1ctl.lane import try_lane

            code = try_lane(argv[2:])
            if code is not None:
                return code
        return _click(argv)
    except BaseException as exc:
        from k1ctl.failure import report

        return report(exc, argv)


def _click(argv: list[str]) -> int:
    import gc

    gc.disable()
    from k1ctl.cli import cli

    gc.freeze()  # what the imports made is not walked again at exit: 6 ms of 37
    gc.enable()
    code = cli.main(args=argv, prog_name="k1ctl", standalone_mode=False)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _exit() -> None:
    code = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


if __name__ == "__main__":
    _exit()
