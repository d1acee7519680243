"""``k1ctl capacity show``: how many agents fit on this host, and what binds."""

from __future__ import annotations

import os

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put


@click.command(short_help="How many agents fit, what is promised, and what binds.")
@click.option("--explain", is_flag=True, help="Every step: matrix, base and slots, turns, all bounds, and the sources.")
@click.option(
    "--facts",
    "facts_file",
    metavar="FILE",
    default="",
    help="Another host: its facts as JSON, as --json has them under facts.",
)
@json_option
@pass_context
def show(context: Context, explain: bool, facts_file: str, as_json: bool) -> None:
    """How many agents this host carries, steadily and in a burst; what is promised and what is seen; and what binds.

    Beside the documented formula max(1, floor((RAM - reserve) / per_agent)) stands the matrix of the guides, and the
    better answer: an agent's base, and as many heavy phases as there are slots. Settings that give away more than there
    is are named with the figure that would hold. Outside a repository the host is shown with the defaults.

    \b
    Examples:
      k1ctl capacity show
      k1ctl capacity show --explain
      echo '{"cores": 14, "memory_bytes": 51539607552}' > mac.json
      k1ctl capacity show --facts mac.json --explain
    """
    from k1ctl.capacity import calibrate, facts
    from k1ctl.capacity import explain as answers
    from k1ctl_plugins.capacity import place, show_state, show_text

    workspace, config = place.settings(context)
    gpus = bool(config.get("capacity", "gpu_per_agent"))
    found = facts.from_file(facts_file) if facts_file else facts.read(gpus=gpus, thermal=True)
    state = show_state.State(found, config, workspace)
    conductor = os.path.join(workspace.root, "conductor.json") if workspace is not None else ""
    model, parameters = answers.workload(config), []
    if workspace is not None:
        calibration = calibrate.usual(workspace, config)
        model, parameters = calibration.model, calibration.parameters
    answer = answers.Answer(found, config, model, state.seen_by_bounds, parameters=parameters, conductor=conductor)
    if as_json:
        root = workspace.root if workspace is not None else None
        emit_json({"ok": True, "root": root, "facts": found.document(), **state.document(), **answer.document()})
        return
    for line in show_text.full(answer, state) if explain else show_text.short(answer, state):
        put(line)
