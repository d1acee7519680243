"""Baselines: real small programs measured to their end, stopped, left alone; records that nothing overwrites."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from k1ctl import groups
from k1ctl.capacity import baseline, baseline_container, baseline_record, processes
from k1ctl.capacity.baseline import Measured
from k1ctl.capacity.sampler import Sampler
from k1ctl.errors import NotExecutableError, NotFoundError, UsageError
from k1ctl.files import read_json
from tests.kit import Project, wait_until

MB = 1 << 20
LINUX = pytest.mark.skipif(not processes._LINUX, reason="needs VmHWM and PSS")
HOLD = "import os, sys, time; x = bytearray(b'x') * (40 << 20)\nwhile not os.path.exists(sys.argv[1]): time.sleep(.01)"


@LINUX
def test_a_spiking_program_is_found_and_a_tree_is_bracketed(tmp_path: Path) -> None:
    """80 MB for a moment; then three processes that have 40 MB each and share the interpreter."""
    wait, go = "while not os.path.exists(sys.argv[1]): time.sleep(.01)", tmp_path / "go"
    spike = f"import os, sys, time; x = bytearray(b'x') * (80 << 20); del x\n{wait}\nsys.exit(3)"
    found = baseline.command(
        [sys.executable, "-c", spike, str(go)], each=lambda now: go.touch() if now.sampler.largest > 80 * MB else None
    )
    memory = found.memory()
    assert (
        found.exit_code == 3
        and found.ended_by == "command"
        and baseline.unfinished(found) == "it ended with exit code 3"
    )
    assert 76 * MB <= memory["peak_bytes"] <= memory["at_most_bytes"] < 160 * MB  # PSS may be read 5 % below the peak
    assert 80 * MB <= memory["largest_process_bytes"] <= memory["at_most_bytes"]
    fork = "import os\nfor _ in range(2):\n    if os.fork() == 0: break\n"
    tree = f"{fork}{HOLD}\nif os.getsid(0) == os.getpid(): os.wait(), os.wait()"
    go = tmp_path / "again"
    found = baseline.command(
        [sys.executable, "-c", tree, str(go)], each=lambda now: go.touch() if rss(now.sampler) > 120 * MB else None
    )
    memory = found.memory()
    assert found.exit_code == 0 and memory["processes_most"] == 3
    assert memory["peak_bytes"] >= 40 * MB and 120 * MB <= memory["at_most_bytes"] < 240 * MB
    document = found.document()
    assert document["cpu"]["source"] == "wait4" and 0 < document["cpu"]["seconds"] < 5
    assert document["leak"]["verdict"] == "not-enough-data" and document["wall_seconds"] > 0


def rss(sampler: Sampler) -> int:
    return sampler.last[1] if sampler.last else 0


def stopped_by(number: int, script: str, grace: float = 5.0, ready: Path | None = None) -> Measured:
    """The baseline of a shell script, with a signal sent to this process at the third look, or once ``ready`` is
    there."""
    looks: list[int] = []

    def each(measured: Measured) -> None:
        if len(looks) < 3 and (len(looks) < 2 or ready is None or ready.exists()):
            looks.append(1)
            if len(looks) == 3:
                os.kill(os.getpid(), number)

    return baseline.command(["/bin/sh", "-c", script], grace=grace, each=each)


def test_interrupt_and_terminate_are_passed_on_and_what_was_seen_is_kept(tmp_path: Path) -> None:
    """^C reaches the command, TERM all of its session; who ignores TERM is killed after the grace period; the handlers
    of before are back."""
    before = signal.getsignal(signal.SIGINT)
    found = stopped_by(signal.SIGINT, "exec sleep 60")
    assert (found.exit_code, found.ended_by, found.memory()["processes_most"]) == (130, "interrupt", 1)
    found = stopped_by(signal.SIGTERM, "sleep 60 & setsid sleep 60 & wait")
    assert (found.exit_code, found.ended_by) == (143, "terminate") and baseline.unfinished(found)
    wait_until(lambda: not found.sampler.watch.look().pids)
    deaf = f"trap '' TERM; : >{tmp_path}/deaf; while :; do sleep 60; done"
    found = stopped_by(signal.SIGHUP, deaf, grace=0.05, ready=tmp_path / "deaf")
    assert (found.exit_code, found.ended_by) == (137, "terminate")
    assert found.left == 0
    child = f"(trap '' TERM; : >{tmp_path}/child; sleep 60; sleep 60) & wait"
    found = stopped_by(signal.SIGTERM, child, grace=0.05, ready=tmp_path / "child")
    assert (found.exit_code, found.ended_by, found.left) == (143, "terminate", 0)
    assert signal.getsignal(signal.SIGINT) is before


def test_who_cannot_be_killed_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs in the kernel keeps nobody waiting: after some KILLs it is counted as left."""
    monkeypatch.setattr(baseline, "_AGAIN", 0.01)
    with monkeypatch.context() as deaf:
        deaf.setattr(groups, "send_to_session", lambda *_, **__: None)
        found = baseline.command(["sleep", "60"], duration=0.05, grace=0.01)
    assert (found.exit_code, found.ended_by, found.left) == (137, "duration", 1)
    groups.send(found.pid, signal.SIGKILL)
    os.waitpid(found.pid, 0)


def test_a_duration_ends_a_command_and_what_it_leaves_is_counted() -> None:
    """After --duration the command is told to end, which is no failure; a daemon of an ended command goes on."""
    found = baseline.command(["sleep", "60"], duration=0.05)
    assert (found.exit_code, found.ended_by, baseline.unfinished(found)) == (143, "duration", "")
    found = baseline.command(["/bin/sh", "-c", "sleep 60 >/dev/null & sleep .1"])
    assert (found.exit_code, found.left) == (0, 1)
    groups.send(found.pid, signal.SIGKILL)


def test_what_runs_already_is_watched_and_left_alone() -> None:
    """For a time, or until it ends; a process that is not there is an error."""
    child = subprocess.Popen(["sleep", "60"])
    found = baseline.process(child.pid, duration=0.05)
    assert child.poll() is None and (found.exit_code, found.ended_by, found.left) == (None, "duration", 1)
    cpu = found.document()["cpu"]
    assert found.memory()["peak_bytes"] and (cpu["source"], cpu["user_seconds"]) == ("samples", None)
    child.kill()
    child.wait()
    short = subprocess.Popen(["sleep", "0.1"])
    found = baseline.process(short.pid)
    assert (found.ended_by, found.left, short.wait()) == ("command", 0, 0)
    with pytest.raises(UsageError, match=f"no process {child.pid} runs"):
        baseline.process(child.pid)


def test_a_command_has_the_descriptors_that_were_inherited() -> None:
    """As without us: a shell's <(...), make's job server, a lease; our own are not among them."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    code = "import os, sys\nos.write(int(sys.argv[1]), b'here')\n"
    code += "try: os.fstat(int(sys.argv[2]))\nexcept OSError: sys.exit(5)"
    assert baseline.command([sys.executable, "-c", code, str(write), str(read)]).exit_code == 5
    assert os.read(read, 10) == b"here"
    os.close(read)
    os.close(write)


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    """Is an error of its own, before anything is recorded."""
    (tmp_path / "text").write_text("no program")
    with pytest.raises(NotFoundError):
        baseline.command(["k1ctl-no-such-program"])
    with pytest.raises(NotExecutableError):
        baseline.command([str(tmp_path / "text")])


def test_records_are_numbered_and_never_overwritten(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines of one minute get names of their own, also where files have no links, and a plot each."""
    facts = workspace.facts()
    ours = "20270115-0800-resource-baseline.7.abc.tmp"
    for name, at in ((ours, 1.0), (f".{ours}.7.def.tmp", 1.0), ("new-resource-baseline.tmp", None), ("notes.tmp", 1.0)):
        file = workspace.write(f"ops/benchmarks/{name}", "")
        os.utime(file, (at, at) if at else None)
    found, host = baseline.command(["sleep", "0.02"]), baseline_record.prepare(facts)
    kept = ["new-resource-baseline.tmp", "notes.tmp"]  # the others were left by one that was killed
    assert sorted(os.listdir(workspace.ops / "benchmarks")) == kept
    for name in kept:
        os.unlink(workspace.ops / "benchmarks" / name)
    document = baseline_record.document(found, facts, host, label="a <label>", class_="small")
    paths = [baseline_record.save(facts, document, 1_800_000_000)]

    def no_links(*_: object) -> None:
        raise PermissionError(1, "not here")

    monkeypatch.setattr(os, "link", no_links)
    paths += [baseline_record.save(facts, document, 1_800_000_000) for _ in range(2)]
    names = [Path(path).name for path in paths]
    assert names == [f"20270115-0800-resource-baseline{end}.json" for end in ("", "-2", "-3")]
    assert sorted(os.listdir(Path(paths[0]).parent)) == sorted([*names, *(n.replace(".json", ".svg") for n in names)])
    assert all(read_json(path) == document for path in paths)
    assert "a &lt;label&gt;" in Path(paths[2]).with_suffix(".svg").read_text()
    assert document["samples"]["columns"][1] == "rss_bytes" and document["host"]["cores"] > 0
    assert any("not enough data" in line for line in baseline_record.told(document))
    document["cpu"]["of_processes_seen_percent"] = 61.0
    told = "\n".join(baseline_record.told(document))
    assert "of what was seen" in told and "39 % of the CPU time fell between looks" in told


def test_cores_are_drawn_where_they_were_busy() -> None:
    """A step of a plot holds until the next look: it begins at the look before."""
    rows = [[at, 0, None, 0, 1, cpu] for at, cpu in ((0.0, 0.0), (1.0, 2.0), (1.0, 2.0), (3.0, 3.0))]
    assert baseline_record.cores(rows) == [(0.0, 2.0), (1.0, 0.5), (3.0, 0.5)]
    assert baseline_record.cores(rows[:1]) == []


def test_a_command_that_was_never_seen_has_no_peak(workspace: Project) -> None:
    """It ended before the first look: None, not 0, and a plot without data."""
    found = Measured(Sampler(session=2**22 + 1), ["true"], 2**22 + 1)
    document = baseline_record.document(found, workspace.facts(), {}, label="", class_="")
    assert (document["memory"]["peak_bytes"], document["memory"]["at_most_bytes"]) == (None, None)
    assert "not known" in baseline_record.told(document)[0]
    assert "no data" in baseline_record.svg(document)
    ElementTree.fromstring(baseline_record.svg(document))


FAKE = f"""#!{sys.executable}
import os, subprocess, sys, time
words, state = sys.argv[1:], os.environ["FAKE"]
if words[0] == "image":
    sys.exit({{"there": 0, "down": "Cannot connect to the daemon"}}.get(words[2], "Error: No such image"))
if words[0] == "inspect":
    if os.environ.get("ODD") == "hangs":
        time.sleep(60)
    if os.environ.get("ODD"):
        sys.exit(print(os.environ["ODD"]))
    try: print(open(os.path.join(state, words[-1])).read())
    except OSError: sys.exit(1)
elif words[0] == "run":
    name, command = words[words.index("--name") + 1], words[words.index("there") + 1:]
    child = subprocess.Popen(command, start_new_session=True)
    open(os.path.join(state, name), "w").write(str(child.pid))
    sys.exit(child.wait())
"""


@LINUX
def test_a_container_is_compared_with_the_command_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker that runs the command in a session of its own, as a container's processes are: they are found by the
    number that it tells, and their memory is known. What it does not have, or fails at, is an error before."""
    tool = tmp_path / "bin" / "docker"
    tool.parent.mkdir()
    tool.write_text(FAKE)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    with pytest.raises(NotFoundError, match="docker cannot run missing: Error: No such image") as error:
        baseline_container.tool("missing")
    assert error.value.code == "no-image" and "image pull missing" in error.value.hint
    with pytest.raises(NotFoundError, match="Cannot connect") as error:
        baseline_container.tool("down")
    assert "docker info" in error.value.hint
    container = baseline_container.Container(baseline_container.tool("there"), "there")
    native = baseline.command(["sleep", "0.02"])
    monkeypatch.setattr(baseline, "_SHOW", 0.0)
    words, go = [sys.executable, "-c", HOLD, str(tmp_path / "go")], tmp_path / "go"
    times: dict[str, Any] = {"interval": 0.05, "duration": 0.0, "grace": 1.0, "cwd": str(tmp_path), "stdout": None}
    monkeypatch.setattr(baseline_container, "_FIRST", 0.005)
    contained = container.run(
        words, **times, show=lambda now: go.touch() if container.found and rss(now) > 54 * MB else None
    )
    found = baseline_container.overhead(native, contained, container)
    assert container.found and found["ran"] and found["exit_code"] == 0 and found["tool"] == "docker"
    assert found["memory"]["peak_bytes"] >= 40 * MB and found["overhead"]["peak_bytes"] is not None
    assert found["overhead"]["wall_seconds"] == pytest.approx(contained.wall_seconds - native.wall_seconds, abs=0.01)
    assert "of memory" in baseline_record.container(found)
    failed = container.run(["/bin/sh", "-c", "exit 125"], **times)
    found = baseline_container.overhead(native, failed, container)
    assert not found["ran"] and found["memory"] is None and "did not run" in baseline_record.container(found)
    contained.ended_by = "duration"
    found = baseline_container.overhead(native, contained, container)
    assert found["ended_by"] == "duration" and set(found["overhead"].values()) <= {None, "pss", "rss"}
    assert "nothing to compare" in baseline_record.container(found)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NotFoundError) as none:
        baseline_container.tool("there")
    assert none.value.code == "no-container-tool"


@LINUX
@pytest.mark.parametrize("odd", [str(os.getpid()), "none", "hangs"], ids=["older", "none", "hangs"])
def test_a_number_that_means_nothing_here_is_not_watched(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool names a process of its virtual machine, which is another one's number here, or no number, or hangs:
    then only time is compared, and nobody waits for the answer."""
    tool = tmp_path / "docker"
    tool.write_text(FAKE)
    tool.chmod(0o755)
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.setenv("ODD", odd)
    monkeypatch.setattr(baseline, "_SHOW", 0.0)
    monkeypatch.setattr(baseline_container, "_FIRST", 0.0)
    monkeypatch.setattr(baseline_container, "_ANSWER", 1000.0)
    container = baseline_container.Container(str(tool), "there")
    asked: list[object] = []
    monkeypatch.setattr(container, "_answer", lambda wait: asked.append(answer(wait=wait)) or asked[-1] or b"")
    answer, go = type(container)._answer.__get__(container), tmp_path / "go"
    done = container.run(
        [sys.executable, "-c", HOLD, str(go)], interval=0.05, duration=0.0, grace=1.0, cwd=str(tmp_path), stdout=None,
        show=lambda now: go.touch() if asked else None,
    )  # fmt: skip
    found = baseline_container.overhead(baseline.command(["sleep", "0.02"]), done, container)
    assert found["ran"] and found["memory"] is None and found["overhead"]["wall_seconds"] is not None
    assert not container.found and container._asked is None


def test_the_words_for_each_tool() -> None:
    """The command's folder is there under its own path, and files belong to the user who called."""
    docker = baseline_container.call("/usr/bin/docker", "node:20", ["npm", "test"], "/work", "name")
    assert docker[1:9] == ["run", "--rm", "--name", "name", "-v", "/work:/work", "-w", "/work"]
    assert docker[9:] == ["--user", f"{os.getuid()}:{os.getgid()}", "node:20", "npm", "test"]
    assert "--userns" in baseline_container.call("podman", "x", ["ls"], "/work", "name")
    assert baseline_container.call("/bin/container", "x", ["ls"], "/work", "name")[-2:] == ["x", "ls"]
