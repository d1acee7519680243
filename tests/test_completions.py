"""What the completion files offer, asked in the real shells: every bash of this host, zsh and fish."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.cli import cli
from k1ctl_plugins.completion import bash, rules, script, tree
from tests.completions.shells import FILES, At, bashes, offers, press_tab
from tests.kit import REPOSITORY, Project, needs

ALL = [*bashes(), "zsh", "fish"]
Ask = Callable[..., dict[str | At, set[str]]]

CONFIG = """
[queue]
park = "5m"  # not dir
[queue.slots]
"build:fw" = 4
port = 2
#[devices.none]
[devices.k1]
host = "k1.local"
dir = "this is no folder of the queue"
  [devices."my k1"] # with a space
[devices.'lab']
[devices.lab-2.x]
[targets.fw]
[targets.web]
[run_targets."fw:size"]
"""
RUNS = [f"20260103-1015{second:02d}.123-9f3c" for second in range(60)]
ARCHIVES = ("20261120-090000-lima-9f3c2a", "20261121-180354-oslo_2.x-aabbcc")


@pytest.fixture(params=ALL, ids=[os.path.basename(os.path.dirname(s)) + "-" + os.path.basename(s) for s in ALL])
def shell(request: pytest.FixtureRequest) -> str:
    """Each shell there is; one that is missing is skipped by its name."""
    found = shutil.which(str(request.param))
    if found is None:
        pytest.skip(f"needs {request.param}")
    return found


@pytest.fixture
def ask(shell: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Ask the shell what it offers: ``ask(folder, "k1ctl que", ...)`` is {line: words}."""

    def ask(folder: Path, *lines: str | At) -> dict[str | At, set[str]]:
        places = [line if isinstance(line, At) else At(folder, line) for line in lines]
        return dict(zip(lines, offers(shell, places, environment, tmp_path_factory.getbasetemp()), strict=True))

    return ask


@pytest.fixture
def desk(make_workspace: Callable[..., Project]) -> Project:
    """A repository with two worktrees, devices, tickets, runs, archives and artifacts."""
    project = make_workspace(worktrees=["oslo", "lima"])
    project.configure(CONFIG)
    queue = project.ops / "queue"
    for name in (
        "w50.0000000012.4711.9f3c2a11.device:k1=1,build:fw=2",
        "r50.0000000011.4702.-.cable=1",
        "p50.0000000100.4702.k.cable=1",
        "P.lamp",
    ):
        project.write(f"ops/queue/tickets/{name}", "")
    project.write("ops/queue/history/scope", "")
    (queue / "mutex").touch()
    for run in RUNS:
        (project.ops / "runs" / run).mkdir(parents=True)
    for archive in (*ARCHIVES, ".tmp-20261121-180355-oslo-0a0b0c", "20261121 $(touch ran)", "notes"):
        project.write(f".git/k1ctl/archive/{archive}/manifest.json", "{}")
    (project.root / ".git" / "k1ctl" / "archive" / "20261121-180356-lima-112233").mkdir()
    for artifact in ("fw/9f3c2a1122334455", "web/aabbccddeeff0011", "fw/latest"):
        (project.ops / "artifacts" / artifact).mkdir(parents=True)
    return project


def test_commands_and_options(ask: Ask, workspace: Project) -> None:
    """Names of commands, options that were not given yet, and the values of a choice."""
    found = ask(
        workspace.root,
        "k1ctl que",
        "k1ctl queue c",
        "k1ctl --ro",
        "k1ctl upload --jso",
        "k1ctl upload --json --",
        "k1ctl events list --event a --ev",
        "k1ctl worktree setup --no-unlink --",
        "k1ctl queue run --priority ",
        "k1ctl queue run --priority=h",
        "k1ctl queue run --priority high a --pr",
        "k1ctl queue run --wait ",
        "k1ctl queue run a -- k1ctl_no_such_program",
        "k1ctl nonsense ",
    )

    options = found.pop("k1ctl upload --json --")
    assert "--device" in options and "--help" in options and "--json" not in options
    options = found.pop("k1ctl worktree setup --no-unlink --")
    assert "--dry-run" in options and not {"--unlink", "--no-unlink"} & options
    assert found == {
        "k1ctl que": {"queue"},
        "k1ctl queue c": {"cancel"},
        "k1ctl --ro": {"--root"},
        "k1ctl upload --jso": {"--json"},
        "k1ctl events list --event a --ev": {"--event"},
        "k1ctl queue run --priority ": {"critical", "high", "normal", "low"},
        "k1ctl queue run --priority=h": {"--priority=high"},
        "k1ctl queue run --priority high a --pr": set(),
        "k1ctl queue run --wait ": set(),
        "k1ctl queue run a -- k1ctl_no_such_program": set(),
        "k1ctl nonsense ": set(),
    }


def test_every_command_is_offered(ask: Ask, workspace: Project) -> None:
    """At each place of the tree the names of all subcommands are offered, and all options."""
    groups = {" ".join(("k1ctl", *c.path)): c for c in tree.commands(cli)}
    named = ask(workspace.root, *(f"{path} " for path, command in groups.items() if command.children))
    given = ask(workspace.root, *(f"{path} --" for path in groups))

    for path, command in groups.items():
        assert {name for name, _ in command.children} <= named.get(f"{path} ", set()), path
        long = {name for option in command.options for name in option.names if name.startswith("--")}
        assert long == given[f"{path} --"], path


def test_values_come_from_ops(ask: Ask, desk: Project) -> None:
    """Devices, targets, resources, tickets, runs, archives, artifacts, workspaces and settings, as they are there."""
    devices, newest = {"k1", "my k1", "lab", "lab-2"}, set(RUNS[10:])
    resources = {"device:k1", "device:lab", "device:lab-2", "build:fw", "build:web", "port", "cable", "lamp", "scope"}
    expected = {
        "k1ctl upload --device ": {"any", *devices},
        "k1ctl upload --device=": {f"--device={name}" for name in ("any", *devices)},
        "k1ctl upload --device=l": {"--device=lab", "--device=lab-2"},
        "k1ctl upload ": {"fw", "web"},
        "k1ctl upload --artifact 9": {"9f3c2a1122334455"},
        "k1ctl archive show ": set(ARCHIVES),
        "k1ctl archive restore ": set(ARCHIVES),
        "k1ctl archive purge 20261120": {ARCHIVES[0]},
        "k1ctl queue run ": resources,
        "k1ctl queue run port ": resources,
        "k1ctl queue run device:": {"device:k1", "device:lab", "device:lab-2"},
        "k1ctl queue run device:k": {"device:k1"},
        "k1ctl queue pause cab": {"cable"},
        "k1ctl queue cancel ": {"11", "12", "100"},
        "k1ctl queue show ": {"11", "12", "100"} | newest,
        "k1ctl queue wait ": newest,
        "k1ctl upload --wait ": newest,
        "k1ctl events list --workspace ": {"repo", "oslo", "lima"},
        "k1ctl build w": {"web"},
        "k1ctl build fw w": {"web"},
        "k1ctl hook run fw:": {"fw:build", "fw:upload", "fw:monitor", "fw:test", "fw:size"},
        "k1ctl config get devices.lab.ma": {"devices.lab.mac"},
        "k1ctl config get devices.k1.ident": {"devices.k1.identity"},
        "k1ctl config get queue.slots.": {"queue.slots.build:fw", "queue.slots.port"},
        "k1ctl config get queue.park": {"queue.park"},
        "k1ctl queue pause cable ": set(),
    }

    found = ask(desk.worktree("oslo"), *expected)

    found["k1ctl queue pause cable "] -= {word for word in found["k1ctl queue pause cable "] if word[0] == "-"}  # zsh
    assert found == expected


def test_the_root_is_found_as_k1ctl_finds_it(ask: Ask, desk: Project, tmp_path: Path) -> None:
    """From the root, a folder in it, a worktree, through a link; by --root and the variables; nothing elsewhere."""
    other, inside, bare = tmp_path / "other", desk.root / "a b" / "c", tmp_path / "bare"
    inside.mkdir(parents=True)
    bare.mkdir()
    other.symlink_to(desk.worktree("lima"))
    line, everything, nothing = "k1ctl upload --device l", {"lab", "lab-2"}, set[str]()
    expected = {At(folder, line): everything for folder in (desk.root, inside, desk.worktree("oslo"), other)}
    expected |= {
        At(bare, line): nothing,
        At(bare, f"k1ctl --root {desk.worktree('oslo')} upload --device l"): everything,
        At(bare, f"k1ctl --root={desk.root} upload --device l"): everything,
        At(bare, line, f"K1CTL_ROOT={desk.root}"): everything,
        At(bare, line, f"CONDUCTOR_ROOT_PATH={desk.root}"): everything,
        At(desk.root, line, f"K1CTL_ROOT={bare}"): nothing,
        At(desk.root, line, "K1CTL_ROOT="): everything,
    }

    assert ask(desk.root, *expected) == expected


def test_a_worktree_with_relative_links(ask: Ask, desk: Project) -> None:
    """worktree.useRelativePaths (git 2.48): the links in .git are relative, and lead to the same root."""
    tree = desk.worktree("oslo")
    link = os.path.relpath(desk.root / ".git" / "worktrees" / "oslo", tree)
    (tree / ".git").write_text(f"gitdir: {link}\n")
    (desk.root / ".git" / "worktrees" / "oslo" / "gitdir").write_text(f"../../../../{tree.parent.name}/oslo/.git\n")
    lines = ("k1ctl upload --device l", "k1ctl events list --workspace o")

    assert ask(tree, *lines) == {lines[0]: {"lab", "lab-2"}, lines[1]: {"oslo"}}


def test_a_queue_elsewhere(ask: Ask, desk: Project, tmp_path: Path) -> None:
    """[queue] dir is followed, absolute and relative, and K1CTL_QUEUE_DIR goes before it."""
    for name, folder in (("one", tmp_path / "one"), ("two", desk.root / "ops" / "two")):
        (folder / "tickets").mkdir(parents=True)
        (folder / "tickets" / f"w50.0000000001.4711.k.{name}=1").touch()
    line = "k1ctl queue pause "
    desk.configure(f'[queue]\ndir = "{tmp_path / "one"}"\n')
    elsewhere = At(desk.root, line, "K1CTL_QUEUE_DIR=ops/two")
    assert ask(desk.root, line, elsewhere) == {line: {"one"}, elsewhere: {"two"}}
    desk.configure("[queue]\n  dir = 'ops/two' # here\n")
    assert ask(desk.root, line) == {line: {"two"}}


def test_hostile_names_are_words_and_nothing_else(ask: Ask, desk: Project) -> None:
    """Names with substitutions, quotes, globs and newlines are offered as they are or not at all; nothing runs."""
    hostile = ["$(touch ran)", "`touch ran`", "*", "a'b", "a;touch ran", "-n", "[a]"]
    desk.configure("".join(f'[devices."{name}"]\n[targets."{name}"]\n' for name in [*hostile, "x\ty"]))
    common = desk.root / ".git" / "worktrees"
    for i, name in enumerate([*hostile, "a\nb", "tab\there"]):
        for folder, file in (
            ("queue/tickets", f"w50.000000000{i}.4711.k.{name}=1"),
            ("queue/tickets", f"w50.{name}.4711.k.cable=1"),
            ("queue/history", name),
            ("runs", name),
            ("artifacts", name),
        ):
            (desk.ops / folder / file).mkdir(parents=True, exist_ok=True)
        (common / f"odd{i}").mkdir()
        (common / f"odd{i}" / "gitdir").write_text(f"/nowhere/{name}/.git\n")
    (common / "empty").mkdir()
    (common / "empty" / "gitdir").touch()
    here = desk.worktree("oslo")

    found = ask(
        here,
        "k1ctl upload --device ",
        "k1ctl events list --workspace ",
        "k1ctl queue pause ",
        "k1ctl queue wait ",
        "k1ctl upload --artifact 9f3c2a11223",
        "k1ctl upload --device '$(touch ran",
        "k1ctl config get 'devices.",
        "k1ctl queue run a -- $(touch ran",
    )

    assert found["k1ctl upload --device "] == {"any", *hostile}
    assert found["k1ctl events list --workspace "] >= {"oslo", *hostile} - {"a\nb", "tab\there"}
    assert found["k1ctl queue pause "] == {"device:k1", "device:-n", "build:fw", "build:-n", "cable", "lamp", "scope"}
    assert found["k1ctl queue wait "] == set(RUNS[10:])
    assert found["k1ctl upload --artifact 9f3c2a11223"] == {"9f3c2a1122334455"}
    assert list(here.rglob("ran")) + list(desk.root.rglob("ran")) == []


def test_without_ops_and_without_a_configuration(ask: Ask, workspace: Project) -> None:
    """A repository where k1ctl was never called: nothing to offer, and no word about it."""
    (workspace.root / "ops").rmdir()
    lines = ("k1ctl device disable ", "k1ctl queue pause ", "k1ctl queue wait ", "k1ctl queue cancel ")

    assert ask(workspace.root, *lines) == {line: set() for line in lines}


def test_files_and_folders(ask: Ask, desk: Project) -> None:
    """Where a file belongs, files are offered; where a folder belongs, folders only."""
    for name in ("result-one", "result two"):
        desk.write(name, "")
    (desk.root / "results").mkdir()

    found = ask(
        desk.root, "k1ctl queue run --result resu", "k1ctl worktree add --path res", "k1ctl queue run --result=result-"
    )

    assert {name.rstrip("/") for name in found["k1ctl queue run --result resu"]} == {
        "result-one",
        "result two",
        "results",
    }
    assert {name.rstrip("/") for name in found["k1ctl worktree add --path res"]} == {"results"}
    assert {name.partition("=")[2] or name for name in found["k1ctl queue run --result=result-"]} == {"result-one"}


def test_behind_two_dashes_stands_another_command_line(ask: Ask, desk: Project) -> None:
    """`queue run RESOURCE -- ` is followed by any command, then by its files: k1ctl's options end there."""
    desk.write("make-it.sh", "")

    found = ask(
        desk.root,
        "k1ctl queue run cable -- basen",
        "k1ctl queue run cable -- cat make-",
        "k1ctl queue run cable -- --pri",
    )

    assert "basename" in found["k1ctl queue run cable -- basen"]
    assert found["k1ctl queue run cable -- cat make-"] == {"make-it.sh"}
    assert found["k1ctl queue run cable -- --pri"] == set()


@needs("bash")
@pytest.mark.parametrize("bash_path", bashes())
def test_tab_in_a_bash_terminal(bash_path: str, desk: Project, environment: dict[str, str]) -> None:
    """What a real TAB writes into the line: words with colons, spaces and quotes come out whole."""
    desk.write("a file", "")
    typed = {
        "k1ctl que": ["queue"],
        "k1ctl queue run device:k": ["queue", "run", "device:k1"],
        "k1ctl upload --device=my": ["upload", "--device=my k1"],
        "k1ctl upload --device my": ["upload", "--device", "my k1"],
        'k1ctl upload --device "my': ["upload", "--device", "my k1"],
        "k1ctl upload --device 'my": ["upload", "--device", "my k1"],
        "k1ctl upload --device my\\ ": ["upload", "--device", "my k1"],
        "k1ctl queue run --result a\\ ": ["queue", "run", "--result", "a file"],
        "k1ctl queue run --result=a\\ ": ["queue", "run", "--result=a file"],
        "k1ctl upload --artifact ./a": ["upload", "--artifact", "./a file"],
        "k1ctl queue run cable -- printf ./a": ["queue", "run", "cable", "--", "printf", "./a file"],
        "k1ctl queue   run    device:k": ["queue", "run", "device:k1"],
        'k1ctl config get \'devices."my k1".ident': ["config", "get", 'devices."my k1".identity'],
        "true; k1ctl upload --wait-l": ["upload", "--wait-limit"],
        "k1ctl upload --dev k1\x1b[D\x1b[D\x1b[D": ["upload", "--device", "k1"],  # the cursor three to the left
    }

    setup = f"source {FILES / 'k1ctl.bash'}"
    assert press_tab(bash_path, list(typed), desk.root, environment, setup) == list(typed.values())


@needs("bash")
@pytest.mark.parametrize("bash_path", bashes())
def test_a_shell_with_unusual_settings(bash_path: str, desk: Project, environment: dict[str, str]) -> None:
    """nounset, noglob, failglob and another IFS neither break completion nor are they changed by it."""
    settings = "set -uf; shopt -s failglob dotglob nocasematch; IFS=e:"
    state = 'k1ctl "$-" "$IFS" "$(shopt | tr -s "[:space:]" " ")" '
    before = press_tab(bash_path, [state], desk.root, environment, settings)
    typed = ["k1ctl queue run device:k", "k1ctl queue wait 20260103-101512", state]

    found = press_tab(bash_path, typed, desk.root, environment, f"source {FILES / 'k1ctl.bash'}; {settings}")

    assert found == [["queue", "run", "device:k1"], ["queue", "wait", RUNS[12]], *before]
    assert "failglob on" in before[0][2] and "f" in before[0][0] and before[0][1] == "e:"


@needs("zsh")
@pytest.mark.parametrize(
    "setup",
    [
        f"fpath=({FILES} $fpath); autoload -Uz compinit; compinit -D -u",
        f"autoload -Uz compinit; compinit -D -u; cd {FILES}; source _k1ctl; cd -",
    ],
    ids=["found in fpath", "sourced"],
)
def test_tab_in_a_zsh_terminal(setup: str, desk: Project, environment: dict[str, str]) -> None:
    """What a real TAB writes into the line."""
    typed = {
        "k1ctl que": ["queue"],
        "k1ctl queue run device:k": ["queue", "run", "device:k1"],
        "k1ctl upload --device=my": ["upload", "--device=my k1"],
        "k1ctl upload --device my": ["upload", "--device", "my k1"],
        "k1ctl queue show 20260103-101512": ["queue", "show", RUNS[12]],
    }

    assert press_tab(shutil.which("zsh") or "", list(typed), desk.root, environment, setup) == list(typed.values())


def test_the_files_have_not_drifted() -> None:
    """completions/ is what `make docs` writes from the live commands."""
    pages = [f"../completions/{file}" for file in script.FILES.values()]
    generate = REPOSITORY / "docs" / "generate.py"

    done = subprocess.run([sys.executable, generate, "--check", *pages], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_argument_has_words_or_is_known_to_have_none() -> None:
    """An argument that is added says what may stand there: in completion/rules.py, by a rule or in NOTHING."""
    silent = {(" ".join(c.path), a.label) for c in tree.commands(cli) for a in c.arguments if not a.words}
    listed = {(path, about) for (path, _), about in rules.NOTHING.items()}

    assert silent == listed, "say in plugins/k1ctl_plugins/completion/rules.py what may stand there"


def test_sources_are_functions_of_each_shell() -> None:
    """Every @source that the rules may name is one that the three shells can read."""
    used = {w for c in tree.commands(cli) for p in (*c.options, *c.arguments) for w in p.words if w.startswith("@")}
    assert used <= {f"@{source}" for source in rules.SOURCES}
    for name, function in (
        ("k1ctl.bash", "\n_k1ctl_{}()"),
        ("_k1ctl", "\n_k1ctl_{}()"),
        ("k1ctl.fish", "function __k1ctl_{} "),
    ):
        text = (FILES / name).read_text()
        assert [s for s in rules.SOURCES if s not in ("file", "folder") and function.format(s) not in text] == []


def test_words_that_a_table_cannot_hold_are_refused() -> None:
    """A choice with a space or a comma would be taken apart by the shell; the generator says so instead."""
    odd = tree.Parameter(("--kind",), "kind", "", ("a b",), is_flag=False, many=False)
    command = tree.Command((), "", (odd,), (), (), runs=False, mixed=True)
    with pytest.raises(ValueError, match="'a b'"):
        bash.render([command], [], "")


NEWER_THAN_BASH_3_2 = (
    r"\b(mapfile|readarray|coproc)\b",
    r"\b(declare|local|typeset) -\w*[Agnlu]",
    r"\$\{\w+(\[[^]]*\])?(\^|,|@[A-Za-z]\})",
    r"\$\{\w+\[-\d",
    r"\$\{[\w]+: *-?\d+: *-",
    r"&>>|\|&|;;&|;&",
    r"\[\[ -[vR] ",
    r"printf -v \w+\[",
    r"printf '?%\(",
    r"\{[a-z]\w*\}[<>]",
    r"\bread [^|;]*-[Ni]\b",
    r"\bwait -n\b|\bnosort\b|\bglobstar\b|\blastpipe\b",
    r"\bEPOCH|\bBASHPID\b|\bSRANDOM\b",
)


def test_the_bash_file_is_written_for_bash_3_2() -> None:
    """No construct that came after 3.2, and compopt only where its absence is provided for."""
    lines = (FILES / "k1ctl.bash").read_text().splitlines()

    assert [line for line in lines for pattern in NEWER_THAN_BASH_3_2 if re.search(pattern, line)] == []
    assert [line for line in lines if "compopt" in line and "2>/dev/null" not in line] == []


@needs("shellcheck")
def test_the_bash_file_is_clean() -> None:
    """shellcheck has nothing to say."""
    done = subprocess.run(["shellcheck", FILES / "k1ctl.bash"], capture_output=True, text=True)
    assert done.stdout == ""
