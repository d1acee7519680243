"""The globs of ``archive.regenerable`` and ``archive.secrets``, asked once for every part of every path."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterable


class Globs:
    """The globs of a setting: each fits a name, or a whole path relative to the worktree.

    Most are a word with a star at an end or at both; a regular expression of them all takes longer to compile than
    all that is asked of it.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        self._words: set[str] = set()
        self._begins: tuple[str, ...] = ()
        self._ends: tuple[str, ...] = ()
        self._within: tuple[str, ...] = ()
        rest, paths = [], []
        for glob in (os.path.expanduser(glob).rstrip("/") for glob in globs):
            word = glob.strip("*")
            if "/" in glob:
                paths.append(glob)
            elif not word or any(c in "*?[" for c in word):
                rest.append(glob)
            elif glob == word:
                self._words.add(word)
            elif glob.endswith("*") and glob.startswith("*"):
                self._within += (word,)
            elif glob.endswith("*"):
                self._begins += (word,)
            else:
                self._ends += (word,)
        self._rest, self._paths = _expression(rest), _expression(paths)

    def anywhere(self, text: str) -> bool:
        """Whether one may fit a name or a path that is in ``text``; False is certain."""
        if self._rest is not None or self._paths is not None:
            return True
        return any(word in text for words in (self._words, self._begins, self._ends, self._within) for word in words)

    def name(self, name: str) -> bool:
        """Whether one fits this one part of a path."""
        if name in self._words or name.startswith(self._begins) or name.endswith(self._ends):
            return True
        if any(word in name for word in self._within):
            return True
        return self._rest is not None and self._rest.match(name) is not None

    def path(self, path: str) -> bool:
        """Whether one fits the path, the path of a folder that it lies in, or a part of it."""
        if any(map(self.name, path.split("/"))):
            return True
        if self._paths is None:
            return False
        ends = [at for at, c in enumerate(path) if c == "/"]
        return any(self._paths.match(path[:at]) for at in (*ends, len(path)))


def _expression(globs: list[str]) -> re.Pattern[str] | None:
    if not globs:
        return None
    import re
    from fnmatch import translate

    return re.compile("|".join(map(translate, globs)))
