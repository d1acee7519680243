"""The log of a tool that k1ctl knows nothing of: its last line is progress, some look like errors or warnings."""

from __future__ import annotations

import re

from k1ctl.builds import BuildReader, BuildResult

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WARNING = re.compile(r"(?:^|[\s:])warning(?: [A-Z]+\d+)?: |^\(!\) |^▲ \[WARNING\] ", re.IGNORECASE)
_ERROR = re.compile(
    r"(?:^|[\s:])(?:fatal )?error(?: [A-Z]+\d+)?: |^npm (?:error|ERR!)|^error during build|^ERROR in |^✘ \[ERROR\] "
    r"|^(?:\w+\.)*\w*(?:Error|Exception): |^\*\*\* |^make(?:\[\d+\])?: \*\*\* ",
    re.IGNORECASE,
)
_KEPT = 100  # lines of each sort
_CONTEXT = 12  # lines behind an error that are kept with it, up to an empty one
_WIDTH = 500  # characters of a kept line


class LineReader(BuildReader):
    """Feed it each line of the log; ask for the result at any time. ``feed`` never raises."""

    stages = False

    def __init__(self) -> None:
        self._result = BuildResult()
        self._context = 0

    def feed(self, line: bytes | str) -> str | None:
        """Take one line (bytes are read as UTF-8); returns what can be shown as progress."""
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = _ANSI.sub("", text).rstrip("\r\n").rpartition("\r")[2]
        result = self._result
        if _ERROR.search(text):
            result.error_count += not text.startswith(("npm ", "make"))
            self._context = _CONTEXT
            self._keep(result.errors, text)
            return None
        if not text.strip():
            self._context = 0
            return None
        if self._context:
            self._context -= 1
            self._keep(result.errors, text)
            return None
        if _WARNING.search(text):
            result.warning_count += 1
            if text not in result.warnings:
                self._keep(result.warnings, text)
            return None
        return text.strip()[:_WIDTH]

    def result(self) -> BuildResult:
        """What was read so far."""
        return self._result

    @staticmethod
    def _keep(lines: list[str], text: str) -> None:
        if len(lines) < _KEPT:
            lines.append(text[:_WIDTH])
