"""What ``pio run`` prints, read line by line: progress, sizes, warnings, and the compiler's own error lines."""

from __future__ import annotations

import re

from k1ctl.builds import BuildReader, BuildResult

_STEP = re.compile(r"(Compiling|Archiving|Indexing|Linking|Building|Generating) (?!in \w+ mode)(\S.*)")
_SIZE = re.compile(r"(RAM|Flash): +\[[= ]*\] +[\d.]+% \(used (\d{1,18}) bytes from (\d{1,18}) bytes\)")
_END = re.compile(r"=+ \[(\w+)\] Took (\d{1,9}(?:\.\d{1,6})?) seconds =+")
_TOOL = re.compile(r" - (\S+) @ (\S+)")
_PLATFORM = re.compile(r"PLATFORM: (.+?) \(([^()]+)\) > ")
_START = re.compile(r"Processing (\S+) \(")
_WARNING = re.compile(r"(?:^|: )warning: |^Warning[!:] ")
_ERROR = re.compile(
    r"(?:^|: )(?:fatal |internal compiler )?error: |^\*\*\* |^(?:\w+\.)*\w*(?:Error|Exception): "
    r"|: undefined reference to |: multiple definition of |cannot find -l|will not fit in region|overflowed by \d"
    r"|^(?:sh|bash|/bin/sh): .*not found$"
)
_CONTEXT = re.compile(r" +\d* \| ")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_KEPT = 100  # lines of each sort
_WIDTH = 500  # characters of a kept line


class PioReader(BuildReader):
    """Feed it each line of the log; ask for the result at any time.

    ``feed`` never raises, whatever the line. Warnings are those of the files compiled in this run: PlatformIO
    does not repeat what it said about files that are up to date.
    """

    def __init__(self) -> None:
        self._result = BuildResult()
        self._result.steps = self._result.cache_hits = 0
        self._in_error = False

    def feed(self, line: bytes | str) -> str | None:
        """Take one line (bytes are read as UTF-8); returns a few words on what is being done when that changed."""
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = _ANSI.sub("", text).rstrip("\r\n")
        result = self._result
        in_error, self._in_error = self._in_error, False
        step = _STEP.match(text)
        if step:
            if step[1] in ("Compiling", "Archiving", "Linking"):
                result.steps = (result.steps or 0) + 1
            return f"{step[1].lower()} {_shorten(step[2])} ({result.steps})"
        if _ERROR.search(text):
            result.error_count += not text.startswith("*** ")
            self._in_error = True
            self._keep(result.errors, text)
        elif in_error and _CONTEXT.match(text):
            self._in_error = True
            self._keep(result.errors, text)
        elif _WARNING.search(text):
            result.warning_count += 1
            if text not in result.warnings:
                self._keep(result.warnings, text)
        elif text.startswith("Retrieved `") and text.endswith("from cache"):
            result.steps, result.cache_hits = (result.steps or 0) + 1, (result.cache_hits or 0) + 1
        else:
            return self._facts(text)
        return None

    def _facts(self, text: str) -> str | None:
        size, end, start = _SIZE.match(text), _END.match(text), _START.match(text)
        tool = _TOOL.match(text) or _PLATFORM.match(text)
        if size:
            used, total = int(size[2]), int(size[3])
            if size[1] == "RAM":
                self._result.ram_used, self._result.ram_total = used, total
            else:
                self._result.flash_used, self._result.flash_total = used, total
        elif tool:
            self._result.tools[tool[1][:100]] = tool[2][:100]
        elif end:
            self._result.status, self._result.tool_seconds = end[1].lower(), float(end[2])
        elif start:
            return f"preparing {start[1]}"
        elif text == "Scanning dependencies...":
            return "scanning dependencies"
        elif text.startswith(("Tool Manager: ", "Platform Manager: ", "Library Manager: ", "Downloading", "Unpacking")):
            return text[:_WIDTH]
        return None

    def result(self) -> BuildResult:
        """What was read so far."""
        return self._result

    @staticmethod
    def _keep(lines: list[str], text: str) -> None:
        if len(lines) < _KEPT:
            lines.append(text[:_WIDTH])


def _shorten(path: str) -> str:
    """``.pio/k1ctl/build/ENV/src/main.o`` as ``src/main.o``."""
    tail = path.rpartition("/build/")[2].partition("/")[2]
    return (tail or path)[:_WIDTH]
