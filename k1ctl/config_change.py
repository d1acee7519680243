"""Change ``ops/k1ctl.toml``: one value at a time, checked as a whole before it is written, replaced in one step."""

from __future__ import annotations

import os

from k1ctl import tomledit
from k1ctl.config import is_named, mangle, parse_text, parse_tree, replace_file
from k1ctl.errors import BusyError, ConfigError, UsageError
from k1ctl.files import Locked
from k1ctl.output import clean
from k1ctl.settings import OPEN, SETTINGS, find
from k1ctl.settings_kinds import from_text
from k1ctl.tomllines import dotted, split_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from k1ctl.settings import Place
    from k1ctl.settings_kinds import Setting
    from k1ctl.workspace import Workspace


class Change:
    """A change of the file: ``path`` (links followed), the text before and after, what people should know about it.

    ``place`` is the setting's, () for a whole file; ``written`` is False for a dry run and where nothing differs.
    """

    def __init__(self, path: str, place: Place, before: str, after: str, notes: list[str]) -> None:
        self.path, self.place, self.before, self.after, self.notes = path, place, before, after, notes
        self.written = False

    @property
    def line(self) -> int:
        """The line of the setting (from 1), of the inline table that holds it, or 0 when it stands there no more."""
        there = [line for line in tomledit.scan(self.after) if line.kind == "value"]
        holding = [line for line in there if line.place == self.place[: len(line.place)]]
        return self.after.count("\n", 0, holding[-1].start) + 1 if holding else 0

    def diff(self) -> str:
        """The change as a unified diff; "" when there is none."""
        from difflib import unified_diff

        old, new = self.before.splitlines(keepends=True), self.after.splitlines(keepends=True)
        lines = unified_diff(old, new, self.path, self.path)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def document(self) -> dict[str, Any]:
        """The change as JSON."""
        facts = {"file": self.path, "changed": self.before != self.after, "written": self.written}
        named = {"key": dotted(self.place), "line": self.line} if self.place else {}
        return {"ok": True, **named, **facts, "diff": self.diff(), "notes": self.notes}


def set_setting(
    workspace: Workspace, key: str, words: Sequence[str], *, rewrite: bool = False, dry_run: bool = False
) -> Change:
    """Give the setting ``key`` a value: one word, or for a list one word an item (a single one is split at commas).

    Raises ConfigError (unknown key, wrong value, a file that cannot be edited by a line without ``rewrite``),
    UsageError (several words for one value).
    """
    place, value = _checked(workspace, key, words)
    with _Held(workspace, dry_run) as held:
        parse_tree(held.text, held.path)
        try:
            after = tomledit.set_value(held.text, place, value)
        except tomledit.NoLineEdit as exc:
            held.rewrite(key, exc, rewrite, lambda: tomledit.with_value(held.text, place, value))
            after = held.rewritten
        try:
            parse_text(after, held.path)
        except ConfigError as exc:
            if exc.details.get("key") != ".".join(place):
                raise
            where = f"{held.path}:{exc.details['line']}: "  # no line of the file as it is
            raise ConfigError(exc.message.removeprefix(where), key=key, code="bad-value") from exc
        held.note_hidden(place)
        return held.replace(place, after)


def set_settings(workspace: Workspace, values: Mapping[str, str], *, dry_run: bool = False) -> Change:
    """Give several settings {key: value, one word each} in one step, each by one line. Raises as `set_setting` does."""
    places = [(key, *_checked(workspace, key, [word])) for key, word in values.items()]
    with _Held(workspace, dry_run) as held:
        parse_tree(held.text, held.path)
        after = held.text
        for key, place, value in places:
            try:
                after = tomledit.set_value(after, place, value)
            except tomledit.NoLineEdit as exc:
                hint = f"k1ctl config edit, or k1ctl config set {key} {values[key]} --rewrite, which loses the comments"
                raise ConfigError(
                    f"{key} cannot be changed by one line: {exc}", hint=hint, code="no-line-edit", key=key
                ) from exc
            held.note_hidden(place)
        parse_text(after, held.path)
        return held.replace((), after, [place for _, place, _ in places])


def _checked(workspace: Workspace, key: str, words: Sequence[str]) -> tuple[Place, str]:
    """(the place of a setting, its value as TOML). Raises ConfigError, UsageError."""
    place = split_key(key)
    setting = find(place)
    if setting is None and (place[0] not in OPEN or len(place) < 3):
        raise unknown(key, _known(workspace))
    return place, toml_value(key, setting, words)


def unset_setting(workspace: Workspace, key: str, *, rewrite: bool = False, dry_run: bool = False) -> Change:
    """Take ``key`` out of the file: a setting, a whole ``devices.NAME``, or what is no setting but stands there.

    Raises ConfigError (unknown and not there, a section of fixed settings).
    """
    place = split_key(key)
    with _Held(workspace, dry_run) as held:
        there = _at(held.text, place, held.path)
        if find(place) is None and place[0] not in OPEN and not is_named(place):
            if any(len(p) > len(place) and p[: len(place)] == place for p in SETTINGS) or place == OPEN:
                raise ConfigError(
                    f"{clean(key)} is a section", hint="unset its settings one by one, or k1ctl config edit"
                )
            if there is None:
                raise unknown(key, _known(workspace))
        try:
            after = tomledit.unset(held.text, place)
        except tomledit.NoLineEdit as exc:
            held.rewrite(key, exc, rewrite, lambda: tomledit.without(held.text, place) or {})
            after = held.rewritten
        try:
            parse_text(after, held.path)
        except ConfigError as exc:  # what was wrong elsewhere in the file before is no reason to keep this
            held.notes.append(f"still wrong: {exc.message}")
        return held.replace(place, after)


def replace_whole(workspace: Workspace, before: str, after: str, copy: str) -> Change:
    """Put an edited text in the file's place. Raises BusyError when it changed since ``before`` was read."""
    with _Held(workspace, False) as held:
        if held.text != before:
            hint = f"your version is in {copy}; compare it with {held.path}"
            raise BusyError(f"{held.path} was changed by somebody else meanwhile", hint=hint, code="changed-meanwhile")
        return held.replace((), after)


def read_text(workspace: Workspace) -> str:
    """The file as text, line ends as they are. Raises ConfigError when there is none."""
    path = workspace.config_file
    try:
        with open(path, "rb") as f:
            return f.read().decode()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"there is no {path} yet", hint="k1ctl init writes one", code="no-file") from None
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 at byte {exc.start}") from exc


def unknown(key: str, there: list[str]) -> ConfigError:
    """The refusal of a key that is no setting, with near ones out of ``there`` and the table of settings."""
    from difflib import get_close_matches

    place = split_key(key)
    if place[0] in OPEN:
        hint = f"a plugin's own settings are {place[0]}.NAME.KEY"
    else:
        patterns = {dotted(_named_as(pattern, place)) for pattern in SETTINGS}
        near = get_close_matches(key, sorted({*there, *patterns}), 3, 0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "k1ctl config show lists them all"
    return ConfigError(f"there is no setting {clean(key) or repr(key)}", hint=hint, code="unknown-setting", key=key)


def _named_as(pattern: Place, place: Place) -> Place:
    """A pattern of the settings' table with the names that ``place`` has where it has ``*``."""
    if len(pattern) != len(place):
        return pattern
    return tuple(part if star == "*" else star for star, part in zip(pattern, place, strict=True))


def toml_value(key: str, setting: Setting | None, words: Sequence[str]) -> str:
    """What the user typed as TOML: units stay as written; of a plugin's own settings, what is TOML is taken as such."""
    kind = setting.kind if setting else ""
    if kind != "list" and len(words) != 1:
        raise UsageError(f"{key} takes one value, not {len(words)}", hint="quote it for the shell")
    word = words[0]
    try:
        if kind == "list" and len(words) == 1 and word.startswith("[") and _is_toml(word):
            return word
        if kind == "list":
            items = words if len(words) > 1 else [item.strip() for item in word.split(",") if item.strip()]
            return f"[{', '.join(map(tomledit.toml_text, items))}]"
        if setting is None:
            return word if _is_toml(word) else tomledit.toml_text(word)
        value = from_text(setting, word)
        if isinstance(value, bool):
            return "true" if value else "false"
        if kind == "percents":
            return f"[{', '.join(map(str, value))}]"
        if kind == "number":
            return f"{value:.12g}"
        if isinstance(value, int | float) and _is_number(word, kind):
            return word if _is_toml(word) else str(value)
        return tomledit.toml_text(word if kind == "str" else word.strip())
    except UnicodeEncodeError:
        raise ConfigError(f"{key}: the value is not UTF-8 text", key=key) from None
    except ValueError as exc:
        raise ConfigError(f"{key} {exc}", key=key, code="bad-value") from exc


def _is_toml(word: str) -> bool:
    import tomllib

    try:
        tomllib.loads(f"v = {word}")
    except tomllib.TOMLDecodeError:
        return False
    return "\n" not in word and tomledit.value_end(word, 0)[0] == len(word)


def _is_number(word: str, kind: str) -> bool:
    """Whether ``word`` has no unit and can stand in the file as a number; a size is a whole one there."""
    digits = word.strip().removeprefix("-")
    return (digits.replace(".", "", 1) if kind == "duration" else digits).isdigit()


def _known(workspace: Workspace) -> list[str]:
    """The settings below names that the file has, for near matches."""
    try:
        values = parse_text(read_text(workspace), workspace.config_file)
    except ConfigError:
        return []
    return [dotted(place) for place in values]


def _at(text: str, place: Place, path: str = "") -> Any:
    node: Any = parse_tree(text, path)
    for part in place:
        node = node.get(part) if isinstance(node, dict) else None
    return node


class _Held:
    """The file, read under its own lock (a dry run takes none); two changes at once follow each other."""

    def __init__(self, workspace: Workspace, dry_run: bool) -> None:
        self.workspace, self.dry_run = workspace, dry_run
        self.path = os.path.realpath(workspace.config_file)  # a link stays a link
        self.lock = Locked(self.path)
        self.notes: list[str] = []
        self.text = self.rewritten = ""

    def __enter__(self) -> _Held:
        self.text = read_text(self.workspace)
        if not self.dry_run:
            if not os.access(self.path, os.W_OK):
                raise ConfigError(f"{self.path} is not writable", hint="check who owns it", code="no-permission")
            self.lock.__enter__()
            self.text = read_text(self.workspace)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.lock.fd >= 0:
            self.lock.__exit__()

    def rewrite(self, key: str, why: Exception, allowed: bool, tree: Callable[[], Mapping[str, Any]]) -> None:
        """Write the file anew from its document. Raises ConfigError unless ``allowed``."""
        try:
            document = tree()
        except tomledit.NoLineEdit as exc:
            raise ConfigError(f"{key}: {exc}", hint="k1ctl config edit", key=key) from exc
        if not allowed:
            hint = "k1ctl config edit, or --rewrite: it writes the file anew, without its comments"
            raise ConfigError(f"{key} cannot be changed by one line: {why}", hint=hint, code="no-line-edit", key=key)
        import tomli_w

        self.rewritten = tomli_w.dumps(document)
        self.notes.append("the file is written anew; its comments are lost")

    def note_hidden(self, place: Place) -> None:
        variable = "K1CTL_" + mangle("_".join(place))
        if find(place) is not None and variable in os.environ:
            self.notes.append(f"{variable} is set in this environment and hides the file's value")

    def replace(self, place: Place, after: str, places: Sequence[Place] = ()) -> Change:
        """Write ``after`` in one step, with the file's permissions, and record the change, of ``places`` each."""
        change = Change(self.path, place, self.text, after, self.notes)
        if self.dry_run or after == self.text:
            return change
        replace_file(self.path, after)
        change.written = True
        from k1ctl.events import emit

        for changed in places or [place]:
            emit(self.workspace, "config.changed", file=self.path, key=dotted(changed))
        return change
