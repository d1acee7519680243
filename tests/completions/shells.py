"""Ask real shells what they offer at the end of a line, and press TAB in real terminals."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pexpect

from tests.kit import REPOSITORY, wait_until

FILES = REPOSITORY / "completions"


class At(NamedTuple):
    """A line that ends where the cursor is, typed in a folder, with ``NAME=VALUE`` in the environment."""

    folder: Path
    line: str
    variable: str = "UNUSED=1"


def bashes() -> list[str]:
    """Every bash of this host: the first on PATH, the system's own (on macOS it is 3.2), and $K1CTL_TEST_BASH."""
    found = [path for path in (shutil.which("bash"), "/bin/bash", os.environ.get("K1CTL_TEST_BASH")) if path]
    return list({os.path.realpath(path): path for path in found if os.path.exists(path)}.values())


def offers(
    shell: str, lines: Sequence[At], env: Mapping[str, str], scratch: Path, file: Path | None = None
) -> list[set[str]]:
    """For each line the words that ``shell`` (a path) offers for the last one, whole and without quoting.

    ``file`` is the completion file, ``scratch`` a folder for what is written meanwhile.
    """
    name = os.path.basename(shell)
    if name.startswith("bash"):
        return _bash(shell, lines, env, file or FILES / "k1ctl.bash")
    if name == "zsh":
        return _zsh(shell, lines, env, scratch, file or FILES / "_k1ctl")
    return _fish(shell, lines, env, file or FILES / "k1ctl.fish")


def _bash(shell: str, lines: Sequence[At], env: Mapping[str, str], file: Path) -> list[set[str]]:
    script = [f"source {shlex.quote(str(file))}"]
    for folder, line, variable in lines:
        words = pieces(line)
        script += [
            f"cd {shlex.quote(str(folder))}",
            f"export {shlex.quote(variable)}",
            f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_CWORD={len(words) - 1}",
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))})",
            "_k1ctl",
            f"unset {variable.partition('=')[0]}",
            "printf '%s\\0' \"${COMPREPLY[@]}\" @@",
        ]
    said = _run([shell, "--norc", "--noprofile", "-c", "\n".join(script)], env)
    found = []
    for (_, line, _), text in zip(lines, said.split("@@\0"), strict=False):
        typed = "" if line.endswith(" ") else line.split()[-1]
        head = typed[: len(typed) - len(re.split("[:=@]", typed)[-1])]
        found.append({shlex.split(head + word)[0] for word in text.split("\0") if word})
    return found


def pieces(line: str) -> list[str]:
    """What bash puts into COMP_WORDS for a line without quoting (bash 4 and newer, default COMP_WORDBREAKS)."""
    words = re.findall(r"[:=@<>]+|[^\s:=@<>]+", line)
    return words if line[-1:] not in (" ", "=", ":") else [*words, ""]


def _fish(shell: str, lines: Sequence[At], env: Mapping[str, str], file: Path) -> list[set[str]]:
    script = [f"source {shlex.quote(str(file))}"]
    for folder, line, variable in lines:
        name, _, value = variable.partition("=")
        script += [f"cd {shlex.quote(str(folder))}", f"set -gx {name} {shlex.quote(value)}"]
        script += [f"complete -C {shlex.quote(line)}", f"set -e {name}", "echo @@"]
    said = _run([shell, "-c", "\n".join(script)], env)
    found = []
    for (_, line, _), text in zip(lines, said.split("@@\n"), strict=False):
        typed = "" if line.endswith(" ") else line.split()[-1]
        words = {row.partition("\t")[0] for row in text.splitlines() if row}
        found.append({word for word in words if word.startswith(typed)})  # without one, fish offers what is like it
    return found


def _run(argv: list[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env=dict(env), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.stderr == "", done.stderr  # what a completion says would land in the middle of the line
    return done.stdout


_CAPTURE = r"""
unsetopt zle_bracketed_paste beep auto_menu auto_list
fpath=(%(folder)s /usr/share/zsh/functions/Completion/{Base,Zsh,Unix,Linux,Debian}(N) $fpath)
autoload -Uz compinit && compinit -C -u -d %(dump)s
compadd() {
  local -a hits
  local before=${(j: :)@[1,${@[(i)(-|--)]}]}
  if [[ $before != *-[OAD]* || $before == *-d* ]]; then
    builtin compadd -A hits "$@"
    (( $#hits )) && print -rl -- "+$^IPREFIX${(@Q)^hits}" >>%(out)s
  fi
  builtin compadd "$@"
}
ask() {
  local folder line variable
  while IFS= read -r folder && IFS= read -r line && IFS= read -r variable; do
    cd $folder
    export "$variable"
    BUFFER=$line CURSOR=$#line
    zle complete-word 2>>%(out)s
    print -r -- @@ >>%(out)s
    unset ${variable%%%%=*}
  done <%(lines)s
  print -r -- done >>%(out)s
  BUFFER=
}
zle -N ask
bindkey '^T' ask
print REA''DY
"""


def _zsh(shell: str, lines: Sequence[At], env: Mapping[str, str], scratch: Path, file: Path) -> list[set[str]]:
    out, asked, setup = (scratch / f"zsh-{name}" for name in ("out", "lines", "setup"))
    dump = scratch / f"zsh-dump-{file.parent.name}"  # what compinit found, kept for the next call
    asked.write_text("".join(f"{folder}\n{line}\n{variable}\n" for folder, line, variable in lines))
    setup.write_text(_CAPTURE % {"folder": file.parent, "out": out, "lines": asked, "dump": dump})
    out.write_text("")
    terminal = pexpect.spawn(shell, ["-f", "-i"], env=dict(env), encoding="utf-8", timeout=30, dimensions=(200, 200))
    try:
        terminal.sendline(f"source {setup}")
        terminal.expect("READY")
        terminal.send("\x14")
        wait_until(lambda: out.read_text().endswith("done\n"))
    finally:
        terminal.close(force=True)
    found = []
    for text in out.read_text().split("@@\n")[:-1]:
        rows = text.splitlines()
        assert all(row.startswith("+") for row in rows), rows
        found.append({row[1:] for row in rows})
    return found


def press_tab(shell: str, typed: Sequence[str], folder: Path, env: Mapping[str, str], setup: str) -> list[list[str]]:
    """Type each line and TAB into an interactive ``shell``, then RETURN; returns the words that k1ctl was called with.

    In that shell k1ctl is a function that only tells its arguments. ``setup`` makes completion ready.
    """
    flags = ["-f", "-i"] if os.path.basename(shell) == "zsh" else ["--norc", "--noprofile", "-i"]
    terminal = pexpect.spawn(
        shell, flags, cwd=str(folder), env=dict(env), encoding="utf-8", timeout=20, dimensions=(50, 250)
    )
    called = []
    try:
        terminal.sendline(f"{setup}; k1ctl() {{ printf '<%s>' \"$@\"; echo EN''D; }}; echo REA''DY")
        terminal.expect("READY")
        for line in typed:
            terminal.send(f"{line}\t\r")
            terminal.expect("END")
            called.append(re.findall("<([^>]*)>", str(terminal.before).splitlines()[-1]))
    finally:
        terminal.close(force=True)
    return called
