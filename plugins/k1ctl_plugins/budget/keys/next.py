"""``k1ctl budget keys next``: the name of the key to use now."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put


@click.command(short_help="Print where the key to use now is, its use reserved.")
@click.option("--tokens", metavar="N", default="0", help="Tokens the call is expected to use, as 20k.")
@click.option("--provider", metavar="NAME", default="", help="Keys of this provider's accounts only.")
@click.option("--bucket", metavar="NAME", default="", help="Keys of this account only.")
@click.option("--dry-run", is_flag=True, help="Tell which it would be; reserve nothing.")
@json_option
@pass_context
def next(context: Context, tokens: str, provider: str, bucket: str, dry_run: bool, as_json: bool) -> None:
    """Print the name of the environment variable, or the path of the file (it has a /), with the key to use now.

    Accounts take turns, each while less than 80 % (percent) of its limits is used; the request and its tokens are
    reserved in the same step. Exit 75: none may be used now; when one may is told.

    \b
    Example:
      name=$(k1ctl budget keys next --tokens 20k) || exit
      case $name in */*) key=$(head -n 1 "$name");; *) key=$(printenv "$name");; esac
    """
    from k1ctl.budget.keys import Want
    from k1ctl.budget.keys_kept import Keys
    from k1ctl.units import parse_tokens

    try:
        want = Want(parse_tokens(tokens), provider, bucket)
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    taken = Keys(context.workspace, context.config).next(want, dry_run=dry_run)
    if as_json:
        emit_json({**taken.document(), "dry_run": dry_run})
    else:
        put(taken.place.name)
