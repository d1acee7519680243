"""Interactive targets: the command takes this process's place, in the foreground of its terminal.

So ^C, a hang-up and whatever Conductor sends reach the command itself, and nobody stands between it and the terminal.
What it holds is held by a supervisor, as for any run, whose command is a tether (tether.py): a small process that
lives for as long as the command and its children keep the other end of a pipe. `queue cancel` of the lease ends the
tether, which tells the command to end first.
"""

from __future__ import annotations

import os
import sys

from k1ctl.errors import NotExecutableError, NotFoundError
from k1ctl.process.launch import launch
from k1ctl.process.spec import RunSpec
from k1ctl.process.view import View
from k1ctl.signals import signals
from k1ctl_plugins.hook.foreign import key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.hook.foreign import Program
    from k1ctl_plugins.hook.targets import Target

_TETHER = os.path.join(os.path.dirname(__file__), "tether.py")


def run(workspace: Workspace, config: Config, target: Target, program: Program) -> int:
    """Become the command once its turn has come; returns only when that does not happen, with the exit code.

    Raises K1ctlError, OSError.
    """
    if not target.resources:
        become(program)
    from k1ctl import lane

    tether = Tether(program)
    return lane.finish(
        launch(workspace, config, tether.spec(workspace, config, target), before=tether.keep_ends, view=tether)
    )


def become(program: Program, keep: int = -1) -> None:
    """Put the command into this process's place; it keeps the descriptor ``keep``. Never returns; raises K1ctlError."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    for number in (signals.SIGPIPE, signals.SIGXFSZ):  # Python ignores them, and that would be inherited
        signals.signal(number, signals.SIG_DFL)
    if keep >= 0:
        os.set_inheritable(keep, True)
    os.chdir(program.folder)
    try:
        os.execve(program.argv[0], program.argv, program.env)
    except FileNotFoundError as exc:
        raise NotFoundError(f"{program.argv[0]} is not there", hint="what its first line names may be missing") from exc
    except OSError as exc:
        raise NotExecutableError(f"{program.argv[0]} cannot be executed: {exc.strerror}") from exc


class Tether(View):
    """The view of the run that holds the lease: when it runs, this process becomes the command.

    Two pipes: ``held`` is open for writing in the command, for reading in the tether; through ``hello`` the tether
    says that it is there, and which variables tell commands below of the lease.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.held, self.hello = os.pipe(), os.pipe()

    def spec(self, workspace: Workspace, config: Config, target: Target) -> RunSpec:
        """The tether's run: it goes on without its caller, because its caller becomes the command."""
        grace = float(config.get("process", "grace"))
        numbers = [os.getpid(), os.getsid(0), self.held[0], self.hello[1]]
        return RunSpec(
            "hook-run",
            [sys.executable, "-I", "-S", _TETHER, *map(str, numbers), f"{grace * 0.8:g}"],
            dict(target.resources),
            cwd=workspace.root,
            wait=target.wait,
            timeout=target.timeout,
            key=key_of(workspace, target, self.program),
            label=f"hook run {target.name}",
            on_caller_exit="keep",
            details={"target": target.name, "interactive": True, "argv": self.program.argv, "pid": os.getpid()},
        )

    def keep_ends(self, run: Run, spec: RunSpec) -> None:
        """In the supervisor: only the tether's ends go on, and only to the tether."""
        os.close(self.held[1])
        os.close(self.hello[0])
        for fd in (self.held[0], self.hello[1]):
            os.set_inheritable(fd, True)

    def started(self) -> None:
        """The lease is held. Become the command, or return when the tether could not be started."""
        super().started()
        for number in (signals.SIGINT, signals.SIGTERM):  # from here on they mean the command, and no run behind it
            signals.signal(number, signals.SIG_DFL)
        os.close(self.hello[1])
        words = b""
        while not words.endswith(b"\0\0"):
            data = os.read(self.hello[0], 4096)
            if not data:
                return  # the supervisor tells why
            words += data
        marks = [word.partition(b"=") for word in words.split(b"\0") if word]
        self.program.env = {**self.program.env, **{os.fsdecode(k): os.fsdecode(v) for k, _, v in marks}}
        become(self.program, self.held[1])
