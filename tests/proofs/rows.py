"""The table of situations that a worktree can be in when it is archived, and the repositories they need.

Among them all in which `git worktree remove` loses work: ignored files, commits of a detached HEAD, a rebase with a
clean tree, untracked files that are not shown, hidden edits, repositories inside, private refs, submodules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.proofs import rows_files, rows_index, rows_nested, rows_states
from tests.proofs.worktreecell import ROWS, Repository, Row, Tree

__all__ = ["ROWS", "build", "repository", "rows_files", "rows_index", "rows_nested", "rows_states", "together"]


def _shallow(folder: Path) -> Repository:
    origin = Repository(folder / "origin")
    return Repository.cloned(folder, "--depth=1", "--no-single-branch", f"file://{origin.root}")


def _alternates(folder: Path) -> Repository:
    origin = Repository(folder / "origin")
    return Repository.cloned(folder, "--shared", str(origin.root))


def _partial(folder: Path) -> Repository:
    origin = Repository(folder / "origin", config={"uploadpack.allowFilter": "true"})
    return Repository.cloned(folder, "--filter=blob:none", f"file://{origin.root}")


def _odd(folder: Path) -> Repository:
    """k1ctl is called without a name for commits, and by a hook of git, which says where *it* works."""
    odd = {"extensions.worktreeConfig": "true", "status.showUntrackedFiles": "no", "user.useConfigOnly": "true"}
    repository = Repository(folder, config=odd)
    git = repository.root / ".git"
    names = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    repository.environment = {"GIT_DIR": str(git), "GIT_WORK_TREE": str(repository.root), "GIT_PREFIX": "dir/"}
    repository.environment |= {"GIT_INDEX_FILE": str(git / "index"), "GIT_OBJECT_DIRECTORY": str(folder / "nowhere")}
    repository.environment |= dict.fromkeys(names)
    return repository


def _linked(folder: Path) -> Repository:
    repository = Repository(folder)
    (folder / "somewhere").mkdir()
    (folder / "trees").symlink_to("somewhere")
    return repository


def _inside(folder: Path) -> Repository:
    """Where the worktrees lie in the main checkout, in a folder that git ignores."""
    repository = Repository(folder)
    repository.trees = repository.root / ".worktrees"
    (repository.root / ".git" / "info").mkdir(exist_ok=True)
    (repository.root / ".git" / "info" / "exclude").write_text("/.worktrees/\n")
    return repository


_UPPER = {"filter.upper.clean": "tr A-Z a-z", "filter.upper.smudge": "tr a-z A-Z", "filter.upper.required": "true"}
_CARELESS = {"core.trustctime": "false", "core.checkStat": "minimal"}
REPOSITORIES: dict[str, Callable[[Path], Repository]] = {
    "common": Repository,
    "index kinds": lambda folder: Repository(folder, config=_CARELESS),
    "filters": lambda folder: Repository(folder, config=_UPPER),
    "missing filter": Repository,
    "autocrlf": lambda folder: Repository(folder, config={"core.autocrlf": "true", "core.fileMode": "false", **_UPPER}),
    "submodules": Repository,
    "sha256": lambda folder: Repository(folder, "--object-format=sha256"),
    "inside": _inside,
    "shallow": _shallow,
    "partial": _partial,
    "odd": _odd,
    "settings": Repository,
    "linked": _linked,
    "alternates": _alternates,
}


def repository(folder: Path, kind: str) -> Repository:
    """A new repository of the kind."""
    return REPOSITORIES[kind](folder)


def build(there: Repository, name: str, rows: Sequence[Row]) -> Tree:
    """A worktree in which all these situations are at once."""
    tree = there.tree(name, next((row.folder for row in rows if row.folder), ""))
    for row in rows:
        then = row.build(tree)
        tree.then += [then] if then else []
        tree.apart |= {row.apart} - {""}
    return tree


def together(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows that share a worktree, list by list."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group or row.name, []).append(row)
    yield from groups.values()
