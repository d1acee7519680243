"""The OOM verdict: from evidence, never from an exit code alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl.capacity import oom
from tests.kit import needs

MIB = 1 << 20
TOLD = [
    (b"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "V8"),
    (b"Error [ERR_WORKER_OUT_OF_MEMORY]: Worker terminated due to reaching memory limit", "node worker"),
    (b'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space', "the JVM"),
    (b"# There is insufficient memory for the Java Runtime Environment to continue.", "the JVM"),
    (b"Traceback (most recent call last):\n  x\nMemoryError", "Python"),
    (b"numpy.core._exceptions._ArrayMemoryError: Unable to allocate 1.0 TiB", "Python"),
    (b"terminate called after throwing an instance of 'std::bad_alloc'", "C++"),
    (b"cc1plus: out of memory allocating 65536 bytes after a total of 1 bytes", "gcc"),
    (b"virtual memory exhausted: Cannot allocate memory", "gcc"),
    (b"fatal error: runtime: out of memory", "Go"),
    (b"memory allocation of 1024 bytes failed", "Rust"),
    (b"LLVM ERROR: out of memory", "LLVM"),
    (b"sh: 1: Cannot fork: Cannot allocate memory", "the system"),
]
KILLED = [
    (b"g++: fatal error: Killed signal terminated program cc1plus", "cc1plus"),
    (b"collect2: fatal error: ld terminated with signal 9 [Killed]", "ld"),
    (b"xargs: python3: terminated by signal 9", "python3"),
    (b"make: *** [Makefile:2: all] Killed", ""),
    (b"subprocess.CalledProcessError: Command '['x']' died with <Signals.SIGKILL: 9>.", ""),
    (b"concurrent.futures.process.BrokenProcessPool: A process in the pool", ""),
    (b"Killed", ""),
    (b"npm error signal SIGKILL", ""),
]


@pytest.mark.parametrize(("line", "who"), TOLD, ids=[f"{who}-{i}" for i, (_, who) in enumerate(TOLD)])
def test_what_programs_say(line: bytes, who: str) -> None:
    """A runtime that was refused memory says so, and is believed when it failed; with exit 0 it got over it."""
    found = oom.verdict(None, status=1, tail=b"before\n" + line + b"\nafter", peak=100 * MIB)
    assert found is not None
    assert (found.by, found.confidence, found.guilty) == (
        "program",
        "likely",
        {"pid": None, "name": who, "rss_bytes": None},
    )
    assert line.splitlines()[-1].decode()[:100] in found.evidence[0]
    survived = oom.verdict(None, status=0, tail=line, peak=100 * MIB)
    assert survived is not None and survived.confidence == "possible" and not survived.worth_more


@pytest.mark.parametrize(("line", "name"), KILLED, ids=[str(i) for i in range(len(KILLED))])
def test_a_killed_leaf_needs_the_kernels_word(line: bytes, name: str) -> None:
    """What a wrapper prints of a killed child counts only where the kernel's counter grew meanwhile."""
    assert oom.verdict(None, status=2, tail=line, kernel_kills=0) is None
    found = oom.verdict(None, status=2, tail=line, kernel_kills=1, peak=50 * MIB)
    assert found is not None and (found.by, found.confidence) == ("kernel", "likely")
    assert (found.guilty or {}).get("name", "") == name
    assert found.next_limit == 150 * MIB


@pytest.mark.parametrize("status", [137, -9, 0, 1, 2, 125])
def test_an_exit_code_alone_is_no_evidence(status: int) -> None:
    """Neither 137 nor a SIGKILL is called a lack of memory where nobody counted one."""
    assert oom.verdict(None, status=status, tail=b"all is well\n", kernel_kills=0) is None
    other = oom.verdict(None, status=137, tail=b"all is well\n", kernel_kills=1, peak=MIB)
    assert other is not None and not other.worth_more, "137 may be its own, and the kernel's kill another's"
    guessed = oom.verdict(None, status=status, tail=b"", kernel_kills=None)
    assert (guessed is None) == (status != -9), "a system without a counter leaves a guess, which is not retried"
    assert guessed is None or not guessed.worth_more


def test_our_own_kills() -> None:
    """The watchdog's word is certain, for memory and for any other reason; the limit that fits next is above both."""
    judged = {"code": "oom", "message": "used 130 MiB of the 100 MiB it may", "peak_bytes": 130 * MIB, "guilty": None}
    found = oom.verdict(judged, limit=100 * MIB, peak=10, status=-9)
    assert found is not None and (found.by, found.confidence, found.next_limit) == ("limit", "certain", 230 * MIB)
    assert oom.verdict({"code": "host-memory", "message": "x"}, status=-9, kernel_kills=3) is None
    group = oom.verdict(None, limit=1000 * MIB, cgroup_kills=2, tail=b"xargs: cc1: terminated by signal 9")
    assert group is not None and group.guilty == {"pid": None, "name": "cc1", "rss_bytes": None}
    assert (group.by, group.next_limit) == ("cgroup", 1200 * MIB)


def test_a_limit_of_its_own() -> None:
    """V8's heap limit far below ours is not helped by more memory, and the verdict says so; near ours it is."""
    line = b"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"
    far = oom.verdict(None, status=-6, tail=line, limit=8000 * MIB, peak=2000 * MIB)
    near = oom.verdict(None, status=-6, tail=line, limit=2100 * MIB, peak=2000 * MIB)
    assert far is not None and near is not None
    assert (far.worth_more, near.worth_more) == (False, True)
    assert far.message.endswith("(a limit of its own, which node --max-old-space-size raises)")
    printed = oom.verdict(None, status=1, tail=b"\nMemoryError", limit=8000 * MIB, peak=50 * MIB)
    assert printed is not None and not printed.worth_more, "far below the limit it was not the limit that refused"
    kernel = oom.verdict(None, status=-9, kernel_kills=1, limit=8000 * MIB, peak=50 * MIB)
    assert kernel is not None and kernel.next_limit > 8000 * MIB, "no limit is advised that is below this one"


WRAPPERS = {  # program: (words around the leaf, its exit code, whether it names the kill)
    "sh": (["sh", "-c", '"$@"; exit $?', "sh"], 137, False),
    "bash": (["bash", "-ec", '"$@"; true', "bash"], 137, False),
    "timeout": (["timeout", "9"], -9, False),
    "env": (["env", "A=1"], -9, False),
    "xargs": (["xargs", "-n1"], 125, True),
    "make": (["make", "-f", "Makefile"], 2, True),
    "ninja": (["ninja", "-f", "build.ninja"], 1, True),
    "npm": (["npm", "run", "leaf"], 137, True),
    "cat": (["sh", "-c", '"$@" | cat', "sh"], 0, True),
    "python3": (["python3", "-c", "import subprocess as s, sys; s.check_call(sys.argv[1:])"], 1, True),
}


@pytest.mark.parametrize(
    "wrapper", [pytest.param(name, marks=[needs(name), *([pytest.mark.soak] * (name == "npm"))]) for name in WRAPPERS]
)
def test_real_wrappers(wrapper: str, tmp_path: Path) -> None:
    """Each wrapper turns a SIGKILLed leaf into a code of its own; none is a lack of memory without the kernel's word,
    and each that leaves a trace is one with it."""
    words, code, named = WRAPPERS[wrapper]
    leaf = tmp_path / "leaf.sh"
    leaf.write_text("#!/bin/sh\nkill -9 $$\n")
    leaf.chmod(0o755)
    (tmp_path / "Makefile").write_text(f"all:\n\t{leaf}\n")
    (tmp_path / "build.ninja").write_text(f"rule x\n  command = {leaf}\nbuild all: x\n")
    (tmp_path / "package.json").write_text(f'{{"scripts": {{"leaf": "{leaf}"}}}}')
    argv = words if wrapper in ("make", "ninja", "npm") else [*words, str(leaf)]
    told = subprocess.run(argv, cwd=tmp_path, capture_output=True, input=b"one\n", check=False)
    assert told.returncode == code
    tail = told.stdout + told.stderr
    assert oom.verdict(None, status=told.returncode, tail=tail, kernel_kills=0) is None
    found = oom.verdict(None, status=told.returncode, tail=tail, kernel_kills=1)
    assert (found is not None) == (named or code in (137, -9))


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    """Only what this attempt printed is read, the last 64 KiB of it, by path or by descriptor; a pipe has none."""
    log = tmp_path / "log"
    log.write_bytes(b"MemoryError of the attempt before\n" + b"x" * 200_000 + b"\nend\n")
    assert oom.tail_of(str(log)).endswith(b"x\nend\n") and len(oom.tail_of(str(log))) == 64 << 10
    assert oom.tail_of(str(log), start=log.stat().st_size - 4) == b"end\n"
    with open(log, "ab") as file:
        assert oom.tail_of(file.fileno(), start=log.stat().st_size - 4) == b"end\n"
    assert oom.tail_of(str(tmp_path / "none")) == b""
    assert sys.platform != "linux" or oom.kernel_kills() is not None
