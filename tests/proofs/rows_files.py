"""Situations of files: names, kinds, modes, what is ignored and by what."""

from __future__ import annotations

import os
import socket

from tests.proofs.worktreecell import Tree, row

ODD = [
    *("new\nline", "tab\there", " leading", "trailing ", "-rf", "--help", "quo'te\"", "back\\slash", "st*r?[x]", "~"),
    *(
        ":(top)magic",
        "#hash",
        "!bang",
        "$HOME",
        "%s{}",
        "nul",
        "CON",
        "aux.txt",
        "x.lock",
        "HEAD",
        "@{u}",
        "é",
        "e\u0301",
    ),
    *("\U0001f525", "\ufeffbom", "\u202ertl", "\x01\x7f", "...", "a" * 255),
]
ODD_BYTES = [*map(os.fsencode, ODD), b"\xff\xfe\x80", b"caf\xe9"]


@row("changed, staged, untracked", stash=True)
def _plain(tree: Tree) -> None:
    tree.write("a.txt", "changed\n")
    tree.write("b.txt", "staged\n")
    tree.write("staged.txt", "new\n")
    tree.git("add", "b.txt", "staged.txt")
    tree.write("new/file.txt", "untracked\n")
    tree.write("new/script", "untracked\n", 0o755)


@row("nothing to save", group="files", stash=True)
def _clean(tree: Tree) -> None:
    return None


@row("ignored files", group="files")
def _ignored(tree: Tree) -> None:
    tree.write("app.log", "log\n")
    tree.write("captures/one.bin", os.urandom(100_000))
    tree.write("captures/deep/er/two.db", os.urandom(10))
    tree.write("dir/deep/x.local", "local\n")
    tree.write("ignored/empty.txt").write_bytes(b"")
    for name in ("node_modules/pkg/index.js", "build/out.o", "ignored/node_modules/p.js", ".pio/build/fw.bin"):
        tree.write(name)
    tree.dropped |= {b"node_modules", b"build", b"ignored/node_modules", b".pio"}


@row("regenerable only by name", group="files")
def _named_like(tree: Tree) -> None:
    """Folders of such names that git does not ignore, files and links of such names, and what is tracked in one."""
    tree.write("dist/handmade.txt")
    tree.write("target", "a file\n")
    tree.write("sub/build/kept.txt")
    tree.git("add", "-f", "sub/build/kept.txt")
    tree.write("sub/build/kept.txt", "changed since\n")
    tree.write("sub/.gitignore", "venv\n.cache\n/dist/*\n!/dist/own.txt\n")
    tree.write("sub/venv", "an ignored file\n")
    (tree.path / "sub" / ".cache").symlink_to("../ignored")
    tree.write("sub/dist/own.txt", "not ignored\n")
    tree.write("sub/dist/made.js", "ignored\n")
    tree.dropped.add(b"sub/dist/made.js")


@row("ignored files in a folder that is not ignored", group="files")
def _in_named_like(tree: Tree) -> None:
    """The folder has a name of those that can be made again, but git does not ignore it: a file of it is precious."""
    tree.write("src/.gitignore", "!build/\n!target/\n")
    tree.write("src/build/Makefile", "written by hand\n")
    tree.write("src/build/capture.bin", "ignored, and nobody can make it again\n")
    tree.write("src/target/only.log", "ignored, in a folder that is not\n")
    tree.write("src/dist/notes.txt", "untracked\n")
    tree.write("src/dist/session.log", "ignored beside it\n")


@row("names", group="files")
def _names(tree: Tree) -> None:
    for name in ODD_BYTES:
        tree.write(b"odd/tracked/" + name)
    tree.git("add", "odd")
    tree.git("commit", "-q", "-m", "names")
    for name in ODD_BYTES[::2]:
        tree.write(b"odd/tracked/" + name, "changed\n")
    for name in ODD_BYTES:
        tree.write(b"odd/untracked/" + name + b"/in", name)
        tree.write(b"ignored/odd/" + name, name)
        tree.write(b"odd/staged/" + name, name)
        tree.write(b"-" + name[:200], name)
    tree.git("add", "odd/staged")
    tree.write("/".join(["deep" * 10] * 20) + "/end", "untracked, 800 bytes deep\n")
    tree.write("ignored/" + "/".join(["deep" * 10] * 20) + "/end", "ignored, 800 bytes deep\n")


@row("names that git takes for its own", group="files")
def _not_for_git(tree: Tree) -> None:
    """Git refuses these in an index, and never lists what is in a folder ``.git`` that is no repository."""
    for name in ("git~1", ".git.", ".git ", "sub/.GIT/config", "sub/git~1/x", ".git::$INDEX", ".g\u200cit/x"):
        tree.write(f"own/{name}", "not a repository\n")
    (tree.path / "own" / ".gitmodules").symlink_to("elsewhere")
    tree.write("own/hollow/.git/notes.txt", "in a folder of that name\n")
    tree.write("own/hollow/beside.txt")
    tree.write("ignored/hollow/.git/notes.txt", "in a folder of that name\n")
    (tree.path / "own" / "bare" / ".git").mkdir(parents=True)
    tree.write("own/bare/beside.txt")


@row("links", group="files")
def _links(tree: Tree) -> None:
    away = tree.repository.folder / "away"
    away.mkdir(exist_ok=True)
    (away / "precious.txt").write_text("nobody may touch this\n")
    (away / "node_modules").mkdir(exist_ok=True)
    (away / "node_modules" / "x.js").write_text("shared\n")
    tree.outside.append(away)
    for place in ("links", "ignored/links", "tracked-links"):
        (tree.path / place).mkdir(parents=True)
        targets = {"dangling": "no/where", "absolute": str(away / "precious.txt"), "folder": "../dir", "loop": "loop"}
        for name, target in {**targets, "out": str(away), "up": "../..", "new\nline": "a\nb"}.items():
            (tree.path / place / name).symlink_to(target)
        os.symlink(b"\xff", os.fsencode(tree.path / place / "bytes"))
    tree.git("add", "tracked-links")
    tree.git("commit", "-q", "-m", "links", "--", "tracked-links")
    (tree.path / "tracked-links" / "folder").unlink()
    (tree.path / "tracked-links" / "folder").symlink_to("../gone")
    (tree.path / "links" / "node_modules").symlink_to(away / "node_modules")
    (tree.path / "ignored" / "build").symlink_to(away)
    (tree.path / "link").unlink()
    tree.write("link", "now a file\n")


@row("modes", group="modes")
def _modes(tree: Tree) -> None:
    for place in ("modes", "ignored/modes", "tracked-modes"):
        for mode in (0o600, 0o640, 0o755, 0o444, 0o555, 0o700, 0o666, 0o4755):
            tree.write(f"{place}/{mode:o}", f"{mode:o}\n", mode)
    tree.git("add", "tracked-modes")
    tree.git("commit", "-q", "-m", "modes")
    (tree.path / "README").chmod(0o600)
    (tree.path / "script.sh").chmod(0o644)
    (tree.path / "a.txt").chmod(0o755)
    tree.git("add", "a.txt")
    tree.write("private/x.txt")
    (tree.path / "private").chmod(0o700)
    tree.write("ignored/private/x.txt")
    (tree.path / "ignored" / "private").chmod(0o2750)
    (tree.path / "dir").chmod(0o555)
    tree.path.chmod(0o750)


@row("empty folders", group="files")
def _empty(tree: Tree) -> None:
    for name in ("empty", "nest/ed/empty", "dir/empty", "ignored/empty", "nest/captures", "with\nline"):
        (tree.path / name).mkdir(parents=True)
    (tree.path / "gone" / "x.txt").unlink()
    (tree.path / "gone" / "y.txt").unlink()
    (tree.path / "empty").chmod(0o700)


@row("pipes and sockets", group="files")
def _special(tree: Tree) -> None:
    (tree.path / "special").mkdir()
    os.mkfifo(tree.path / "special" / "pipe")
    (tree.path / "ignored").mkdir(exist_ok=True)
    os.mkfifo(tree.path / "ignored" / "pipe")
    here = os.getcwd()
    os.chdir(tree.path / "ignored")  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket")
    finally:
        os.chdir(here)
    tree.dropped.add(b"ignored/socket")  # nobody listens any more
    tree.write("ignored/beside.txt")


@row("one file under several names", group="files")
def _hard_links(tree: Tree) -> None:
    first = tree.write("captures/hard/one", os.urandom(5000))
    os.link(first, tree.path / "captures" / "hard" / "two")
    (tree.path / "captures" / "other").mkdir()
    os.link(first, tree.path / "captures" / "other" / "three")


@row("times of ignored files", group="files")
def _times(tree: Tree) -> None:
    for number, when in enumerate((1, 1_700_000_000_123_456_789, 1_767_225_599_999_999_999, 4_102_444_800_500_000_000)):
        os.utime(tree.write(f"captures/times/{number}"), ns=(when, when))


@row("large file", heavy=True)
def _large(tree: Tree) -> None:
    tree.write("captures/flash.bin", os.urandom(50 << 20))


@row("ten thousand untracked files", heavy=True, stash=True)
def _many(tree: Tree) -> None:
    for number in range(10_000):
        tree.write(f"many/{number % 97}/{number}.txt", f"{number}\n")


@row("many untracked files", group="files", stash=True)
def _some(tree: Tree) -> None:
    for number in range(500):
        tree.write(f"many/{number % 7}/{number}.txt", f"{number}\n")


@row("ignored by other means", group="ignores")
def _excludes(tree: Tree) -> None:
    """info/exclude, core.excludesFile, the folder's own .gitignore (not committed), and what is un-ignored."""
    info = tree.repository.root / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "exclude").write_text("*.private\n")
    everywhere = tree.repository.folder / "excludes"
    everywhere.write_text("*.everywhere\n")
    tree.repository.git("config", "core.excludesFile", str(everywhere))
    tree.write("x.private")
    tree.write("x.everywhere")
    tree.write("own/.gitignore", "*\n!*.keep\n")
    tree.write("own/dropped?", "ignored\n")
    tree.write("own/y.keep", "not ignored\n")
    tree.write("whole/.gitignore", "*\n")
    tree.write("whole/file.txt", "in a folder that ignores itself\n")
    tree.write(".gitignore", "*.log\n!important.log\nignored/\n")
    tree.write("important.log", "not ignored any more\n")
    tree.write("node_modules/handmade.js", "not ignored any more\n")
    tree.write("ignored/x.log")


@row("secrets", group="files")
def _secrets(tree: Tree) -> None:
    names = [".env", ".env.local", "key.pem", "config/credentials.json", "ignored/id_ed25519", "ignored/deep/x.key"]
    names += ["-----.pem", "new\nline.pem", "my-secret-notes.txt", "app/.npmrc"]
    for number, name in enumerate(names):
        secret = f"hush-{number}-{os.urandom(8).hex()}"
        tree.write(name, f"TOKEN={secret}\n", 0o640 if number % 2 else 0o600)
        tree.secrets.append(secret.encode())
    (tree.path / "link.pem").symlink_to("key.pem")
    tree.write(".env.example", "TOKEN=\n")
    tree.git("add", "-f", ".env.example")
    tree.git("commit", "-q", "-m", "a tracked file with a secret's name", "--", ".env.example")
    secret = f"hush-{os.urandom(8).hex()}"
    tree.write(".env.example", f"TOKEN={secret}\n")
    tree.secrets.append(secret.encode())


@row("a tracked file became a folder, a folder a file or a link", group="swapped")
def _swapped(tree: Tree) -> None:
    away = tree.repository.folder / "other"
    away.mkdir(exist_ok=True)
    (away / "one.txt").write_text("not of this worktree\n")
    tree.outside.append(away)
    (tree.path / "swap").unlink()
    tree.write("swap/inside/file.txt")
    for name in ("x.txt", "y.txt"):
        (tree.path / "gone" / name).unlink()
    (tree.path / "gone").rmdir()
    tree.write("gone", "a file now\n")
    for name in ("deep/three.txt", "two.txt"):
        (tree.path / "dir" / name).unlink()
    (tree.path / "dir" / "deep").rmdir()
    (tree.path / "dir").rmdir()
    (tree.path / "dir").symlink_to(away)
    (tree.path / "README").unlink()
    (tree.path / "README").symlink_to("b.txt")
    (tree.path / "script.sh").unlink()
    os.mkfifo(tree.path / "script.sh")
