"""A repository that worked, with a secret in every place that one can come from."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from k1ctl.queue.view import entries
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.budget.transcripts import answer, lines
from tests.kit import Project, finish, wait_until

_JOB = """\
#!/bin/sh
echo "deploying with token=$JOB_TOKEN"
echo "error: login failed for https://ci:$JOB_TOKEN@example.org/x.git, password: $JOB_TOKEN" >&2
[ -e gate ] && { touch "$1"; while [ -e gate ]; do sleep 0.02; done; }
exit 3
"""
_BUILD = """\
#!/bin/sh
[ -e broken ] || { mkdir -p out; echo image > out/app.bin; exit 0; }
echo "main.c:3:1: error: API_TOKEN=$BUILD_TOKEN is no number"
exit 1
"""
_CONFIGURATION = """\
[defaults]
target = "fw"
device = "k1"
[devices.k2]
host = "127.0.0.1"
http_port = 9
ota_port = 9
password_env = "K2_PASSWORD"
probe_timeout = "100ms"
[targets.tool]
kind = "command"
path = "tool"
command = ["./make.sh"]
outputs = ["out/app.bin"]
[budget]
day = "1M"
[budget.buckets.a]
provider = "acme"
tokens = "100k"
[budget.keys.first]
bucket = "a"
env = "ACME_KEY"
[budget.keys.second]
bucket = "a"
file = "{key}"
[budget.providers.acme]
models = ["m"]
[budget.github]
url = "http://127.0.0.1:9"
[archive]
store = "nas"
[artifact]
store = "nas"
[stores.nas]
path = "{nas}"
[stores.s3]
kind = "s3"
bucket = "b"
endpoint = "http://127.0.0.1:9"
[notify]
command = ["./notify.sh"]
timeout = "2s"
apprise_file = "{urls}"
apprise_env = "APPRISE_URLS"
[alerts.success]
events = 1
"""


class Seeded:
    """``secrets`` {where it was put: the secret}; ``project``; ``told``: the file with what people were
    told, as JSON a line; ``nas``: the store's folder."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.folder = project, folder
        self.secrets: dict[str, str] = {}
        self.told, self.nas = folder / "told", folder / "nas"
        self.running: list[subprocess.Popen[str]] = []

    def new(self, where: str, form: str = "{}") -> str:
        """A secret of its own for a place; ``form`` is how such ones look."""
        assert where not in self.secrets
        self.secrets[where] = form.format(f"Zk{len(self.secrets):02d}{os.urandom(7).hex()}")
        return self.secrets[where]

    def found_in(self, text: str) -> list[str]:
        """The places whose secret stands in a text."""
        return [where for where, secret in self.secrets.items() if secret in text]

    def file(self, name: str, text: str) -> Path:
        """A file of the user's, closed to others."""
        path = self.folder / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return path


@contextmanager
def seeded(project: Project, folder: Path) -> Iterator[Seeded]:
    """The repository, with runs that ended, one that has the lamp and one that waits for it until the block ends."""
    seeds = Seeded(project, folder)
    with ExitStack() as stack:
        device = SimulatedDevice(folder / "device", "pace=20000000", password=seeds.new("password_file of a device"))
        stack.enter_context(device)
        _environment(seeds)
        _configure(seeds, device)
        _worktrees(seeds)
        _transcript(seeds)
        stack.callback(_end, seeds)
        _runs(seeds)
        yield seeds


def _environment(seeds: Seeded) -> None:
    """What only stands in variables; the test's own environment is put back when it ends."""
    new = seeds.new
    os.environ.update(
        K2_PASSWORD=new("password_env of a device"),
        ACME_KEY=new("env of a key", "sk-{}"),
        GITHUB_TOKEN=new("GitHub's token", "ghp_{}"),
        AWS_ACCESS_KEY_ID=new("access key of a store", "AKIA{}").upper(),
        AWS_SECRET_ACCESS_KEY=new("secret key of a store"),
        APPRISE_URLS=f"json://me:{new('apprise_env')}@127.0.0.1:9/",
        JOB_TOKEN=new("environment and log of a run"),
        BUILD_TOKEN=new("environment and log of a build"),
        DATABASE_URL=f"postgres://me:{new('environment of every run')}@127.0.0.1/db",
    )
    seeds.secrets["access key of a store"] = os.environ["AWS_ACCESS_KEY_ID"]


def _configure(seeds: Seeded, device: SimulatedDevice) -> None:
    project = seeds.project
    urls = seeds.file("urls", f"json://me:{seeds.new('apprise_file')}@127.0.0.1:9/\nslack://{seeds.new('a token URL')}")
    key = seeds.file("key", seeds.new("file of a key"))
    password = seeds.file("password", seeds.secrets["password_file of a device"])
    seeds.nas.mkdir()
    more = _CONFIGURATION.format(urls=urls, key=key, nas=seeds.nas)
    section = f'{device.toml("k1")}password_file = "{password}"\nprobe_timeout = 5\n'
    desk.configure(project, section, more=more)
    project.write("notify.sh", f"#!/bin/sh\ncat >> '{seeds.told}'\n").chmod(0o755)


def _worktrees(seeds: Seeded) -> None:
    project = seeds.project
    project.write(".gitignore", ".env\nout/\nbroken\ngate\nbegun*\n")
    project.write("job.sh", _JOB).chmod(0o755)
    project.write("tool/make.sh", _BUILD).chmod(0o755)
    project.commit("what is run")
    remote = f"https://me:{seeds.new('URL of a remote')}@example.org/x.git"
    project.git("remote", "add", "origin", remote)
    project.git("config", "http.extraHeader", f"Authorization: Basic {seeds.new('header in a git configuration')}")
    for name in ("oslo", "lima"):
        tree = project.add_worktree(name)
        project.write(".env", f"API_TOKEN={seeds.new(f'.env of {name}')}\n", within=tree)
    project.write(".env", f"API_TOKEN={seeds.new('.env of the root')}\n")
    desk.keep(project, desk.firmware("base"), project.worktree("oslo"))


def _transcript(seeds: Seeded) -> None:
    """What an agent in oslo read and wrote."""
    tree = str(seeds.project.worktree("oslo"))
    record = {**answer(1), "cwd": tree}
    record["message"]["content"] = [{"type": "text", "text": f"the key is {seeds.new('transcript of an agent')}"}]
    path = Path(os.environ["HOME"], ".claude", "projects", tree.replace("/", "-"), "one.jsonl")
    path.parent.mkdir(parents=True)
    path.write_text(lines([record]))


def _runs(seeds: Seeded) -> None:
    project, oslo = seeds.project, seeds.project.worktree("oslo")
    project.write("tool/broken", "", within=oslo)
    project.write("gate", "", within=project.worktree("lima"))
    job = ["./job.sh", "begun"]
    holder = [*job, f"--password={seeds.new('--password=X of who has the lamp')}"]
    seeds.running.append(project.popen("queue", "run", "lamp", "--", *holder, cwd=project.worktree("lima")))
    together = [
        project.popen("upload", "--device", "k1", "--json", cwd=oslo),
        project.popen("build", "tool", "--json", cwd=oslo),
        project.popen("queue", "run", "bulb", "--", *job, "--api-key", seeds.new("--api-key X of a run"), cwd=oslo),
    ]
    said = [process.communicate(timeout=60) for process in together]
    assert [process.returncode for process in together] == [0, 1, 3], said
    wait_until(lambda: (project.worktree("lima") / "begun").exists())
    waits = [
        "curl",
        "-u",
        f"me:{seeds.new('-u me:X of who waits')}",
        f"https://x/?token={seeds.new('token=X in a URL')}",
    ]
    seeds.running.append(project.popen("queue", "run", "lamp", "--", *waits, cwd=oslo))
    wait_until(lambda: len(project.events("queue.enqueued")) > 0)
    _console(seeds)


def _console(seeds: Seeded) -> None:
    """What the device's console said while a flash was verified."""
    upload = next((seeds.project.ops / "runs").glob("*/flash-outcome.json")).parent
    (upload / "boot.log").write_text(f"wifi: ssid=lab psk={seeds.new('log of a console')}\npanic: no network\n")


def _end(seeds: Seeded) -> None:
    (seeds.project.worktree("lima") / "gate").unlink(missing_ok=True)
    for process in reversed(seeds.running):
        process.terminate()
        finish(process)


def run_of(seeds: Seeded, kind: str) -> str:
    """The id of the last run of a kind that ended."""
    paths = sorted((seeds.project.ops / "runs").glob("*/run.json"))
    records = [json.loads(path.read_text()) for path in paths]
    return str([each["run"] for each in records if each["kind"] == kind and each["state"] == "ended"][-1])


def ticket_of(seeds: Seeded, state: str) -> str:
    """The number of the ticket that waits, or that has the lamp."""
    (entry,) = [each for each in entries(str(seeds.project.ops / "queue")) if each["state"] == state]
    return str(entry["ticket"])
