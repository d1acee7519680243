"""The stores of `k1ctl archive`: one contract, held by each; and what each refuses on its own."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from k1ctl.errors import ConfigError, K1ctlError, NotFoundError
from k1ctl.stores import Store, StoreError, is_key, key_part
from k1ctl_plugins.archive.stores import s3
from k1ctl_plugins.archive.stores.directory import MARKER, DirectoryStore
from k1ctl_plugins.archive.stores.s3 import S3Store
from tests.archive.saving import archived
from tests.kit import Project, finish
from tests.s3 import S3Server

BIG = 17 << 20  # bytes: three parts of an upload
_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as s3:
        yield s3


def s3_section(**given: str) -> dict[str, str]:
    keys = {"key_env": "TEST_KEY", "secret_env": "TEST_SECRET"}
    return {"bucket": "b", "prefix": "", "endpoint": "https://s3.example.org", "region": "", **keys, **given}


@pytest.fixture(params=["directory", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> Store:
    """An empty store that is ready."""
    made: Store
    if request.param == "directory":
        (tmp_path / "store").mkdir()
        made = DirectoryStore("nas", str(tmp_path / "store"))
    else:
        monkeypatch.setenv("TEST_KEY", "AKIATEST")
        monkeypatch.setenv("TEST_SECRET", "not-so-secret")
        s3: S3Server = request.getfixturevalue("server")
        bucket = s3.make_bucket(f"bucket-{next(_numbers)}")
        made = S3Store("cloud", s3_section(endpoint=s3.endpoint, bucket=bucket, prefix="team/k1/"))
    made.prepare()
    return made


def file(folder: Path, content: bytes, name: str = "") -> str:
    path = folder / (name or f"file-{next(_numbers)}")
    path.write_bytes(content)
    return str(path)


def kept(store: Store, key: str, folder: Path) -> bytes:
    path = folder / f"got-{next(_numbers)}"
    store.get(key, str(path))
    assert path.stat().st_mode & 0o077 == 0
    return path.read_bytes()


def test_what_is_put_is_got_and_listed_until_it_is_deleted(store: Store, tmp_path: Path) -> None:
    """put, get, list and delete agree; a second put replaces; a file without a byte is a file."""
    store.put("repo/one/git.tar", file(tmp_path, b"first"))
    store.put("repo/one/git.tar", file(tmp_path, b"second"))
    store.put("repo/one/empty", file(tmp_path, b""))
    store.put("repo/onerous", file(tmp_path, b"123"))

    assert kept(store, "repo/one/git.tar", tmp_path) == b"second"
    assert kept(store, "repo/one/empty", tmp_path) == b""
    assert store.list("") == [("repo/one/empty", 0), ("repo/one/git.tar", 6), ("repo/onerous", 3)]
    assert store.list("repo/one/") == [("repo/one/empty", 0), ("repo/one/git.tar", 6)]
    assert store.list("repo/one") == store.list("")  # a beginning, not a folder
    assert store.list("repo/one/g") == [("repo/one/git.tar", 6)]
    assert store.list("repo/two") == store.list("repo/two/") == store.list("repo/one/git.tar/") == []
    store.delete("repo/one/git.tar")
    store.delete("repo/one/git.tar")
    store.delete("repo/one/empty")
    assert store.list("") == [("repo/onerous", 3)]


def test_nothing_there(store: Store, tmp_path: Path) -> None:
    """get raises KeyError and leaves no file; what stands at the target is never overwritten; delete is silent."""
    with pytest.raises(KeyError):
        store.get("repo/nothing", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    store.delete("repo/nothing")
    store.put("repo/x", file(tmp_path, b"theirs"))
    with pytest.raises(StoreError, match="exists"):
        store.get("repo/x", file(tmp_path, b"mine", "there"))
    assert (tmp_path / "there").read_bytes() == b"mine"


def test_a_large_file(store: Store, tmp_path: Path) -> None:
    """17 MiB go there and back unchanged, and are not held in memory on the way back."""
    content = os.urandom(BIG)
    store.put("repo/big", file(tmp_path, content))
    assert store.list("repo/") == [("repo/big", BIG)]
    tracemalloc.start()
    store.get("repo/big", str(tmp_path / "back"))
    assert tracemalloc.get_traced_memory()[1] < BIG
    tracemalloc.stop()
    assert sha256((tmp_path / "back").read_bytes()).digest() == sha256(content).digest()


ODD = ("", "/x", "x/", "a//b", "../x", "a/../../x", ".", "a/./b", "a b", "ä", "a\nb", "a\\b", "~x", "x" * 901)


def test_odd_keys_are_refused(store: Store, tmp_path: Path) -> None:
    """put, get and delete refuse what is no key; list finds nothing below it."""
    source, out = file(tmp_path, b"x"), str(tmp_path / "out")
    for key in ODD:
        calls = (partial(store.put, key, source), partial(store.get, key, out), partial(store.delete, key))
        for call in calls:
            with pytest.raises(StoreError) as refused:
                call()
            assert refused.value.code == "bad-key"
        assert store.list(f"{key}/") == [] and not is_key(key)
    assert not os.path.exists(out) and store.list("") == []


def test_a_part_of_a_key_is_made_of_any_name() -> None:
    """key_part gives one part that is a key, whatever stands in it."""
    for text in ("k1-reinvented", "Ümlaut & more", "..", ".", "", "a/b", "x" * 500, "new\nline"):
        assert is_key(key_part(text)) and "/" not in key_part(text)
    assert key_part("k1_re.invented-2") == "k1_re.invented-2"


_PUT = """
import os, sys
from k1ctl_plugins.archive.stores import s3
from k1ctl_plugins.archive.stores.directory import DirectoryStore
from k1ctl_plugins.archive.stores.s3 import S3Store
store = eval(sys.argv[1])
print(flush=True)
sys.stdin.readline()
for path in sys.argv[2:]:
    store.put("repo/key", path)
"""


def _expression(store: Store) -> str:
    if isinstance(store, DirectoryStore):
        return f"DirectoryStore('nas', {store.path!r})"
    assert isinstance(store, S3Store)
    return f"S3Store('cloud', {dict(store.section)!r})"


def _writer(store: Store, *paths: str) -> subprocess.Popen[bytes]:
    """A process that puts the files one after the other as soon as it gets a line."""
    argv = [sys.executable, "-c", _PUT, _expression(store), *paths]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def test_two_writers_at_once(store: Store, tmp_path: Path) -> None:
    """Each puts its own file many times: what is there in between and at the end is one of them, whole."""
    contents = [bytes([65 + i]) * (300_000 + i) for i in range(2)]
    files = [file(tmp_path, content) for content in contents]
    store.put("repo/key", files[0])
    writers = [_writer(store, *[path] * 6) for path in files]
    for writer in writers:
        _go(writer)
    while any(writer.poll() is None for writer in writers):
        try:
            assert kept(store, "repo/key", tmp_path) in contents
        except StoreError as exc:  # replaced between two requests, and said so
            assert isinstance(store, S3Store) and "replaced meanwhile" in exc.hint, exc
    assert [finish(writer) for writer in writers] == [0, 0]
    assert kept(store, "repo/key", tmp_path) in contents
    assert [key for key, _ in store.list("")] == ["repo/key"]


def test_a_writer_that_is_killed(store: Store, tmp_path: Path) -> None:
    """kill -9 in the middle of put leaves the old file or the new, whole, and nothing else that is listed."""
    old, new = file(tmp_path, os.urandom(BIG // 10)), file(tmp_path, os.urandom(BIG // 2))
    whole = {sha256(Path(path).read_bytes()).digest() for path in (old, new)}
    store.put("repo/key", old)
    for delay in (0.0, 0.02):
        writer = _writer(store, new)
        _go(writer)
        time.sleep(delay)  # only where the kill falls depends on it
        writer.kill()
        writer.communicate()
        assert sha256(kept(store, "repo/key", tmp_path)).digest() in whole
        assert [key for key, _ in store.list("")] == ["repo/key"]
    store.put("repo/key", new)
    assert sha256(kept(store, "repo/key", tmp_path)).digest() == sha256(Path(new).read_bytes()).digest()


# -- a folder --


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nas").mkdir()
    return tmp_path / "nas"


def test_a_mount_point_without_its_disk_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    """Without the marker every use is refused and nothing is made; a marker that is a link is none."""
    store = DirectoryStore("nas", str(folder))
    (tmp_path / "marker").write_text("{}")
    source = file(tmp_path, b"x")
    calls = (partial(store.put, "a/b", source), partial(store.list, ""), partial(store.delete, "a/b"))
    for there in ([], [MARKER]):
        if there:
            (folder / MARKER).symlink_to(tmp_path / "marker")
        for call in calls:
            with pytest.raises(StoreError, match="mount point") as refused:
                call()
            assert "--init-store" in refused.value.hint and refused.value.code == "store-unmarked"
        assert os.listdir(folder) == there


def test_a_folder_that_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is named, not the temporary file in it, and what to do; what was there stays."""
    store = DirectoryStore("nas", str(folder))
    store.prepare()
    store.put("a/b", file(tmp_path, b"old"))
    for number, hint in ((errno.EROFS, "for writing"), (errno.ENOSPC, "room"), (errno.EIO, "its disk")):

        def failing(fd: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            with pytest.raises(StoreError, match=re.escape(f"{os.strerror(number)}: {folder}") + "$") as refused:
                store.put("a/b", file(tmp_path, b"new"))
        assert hint in refused.value.hint
    store.get("a/b", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"old" and os.listdir(folder / "a") == ["b"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Not by put and not by prepare; a path that is not absolute is no place at all."""
    store = DirectoryStore("nas", str(tmp_path / "gone"))
    for call in (store.prepare, lambda: store.put("a", file(tmp_path, b""))):
        with pytest.raises(StoreError, match="there is no folder"):
            call()
    assert not (tmp_path / "gone").exists()
    with pytest.raises(ConfigError, match="not absolute"):
        DirectoryStore("nas", "some/place").list("")


def test_links_in_a_store_are_not_followed(folder: Path, tmp_path: Path) -> None:
    """A folder that is a link is refused for put, get and delete, and not listed; a file that is one is replaced."""
    store = DirectoryStore("nas", str(folder))
    store.prepare()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"theirs")
    (folder / "repo").symlink_to(outside)
    source = file(tmp_path, b"mine")
    with pytest.raises(StoreError):
        store.put("repo/new", source)
    for call in (
        lambda: store.get("repo/precious", str(tmp_path / "out")),
        lambda: store.get("link", str(tmp_path / "out")),
    ):
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to(outside / "precious")
        with pytest.raises((StoreError, KeyError)):
            call()
    store.delete("repo/precious")
    assert store.list("") == []
    store.put("link", source)
    assert (folder / "link").read_bytes() == b"mine" and not (folder / "link").is_symlink()
    assert {p.name: p.read_bytes() for p in outside.iterdir()} == {"precious": b"theirs"}


def test_leftovers_of_killed_writers_go(folder: Path, tmp_path: Path) -> None:
    """A temporary file that nobody touched for a day goes at the next put; a young one may be somebody's."""
    store = DirectoryStore("nas", str(folder))
    store.prepare()
    store.put("repo/a", file(tmp_path, b"x"))
    for name, age in (("~old", 2 * 86400), ("~young", 10)):
        (folder / "repo" / name).write_bytes(b"half")
        os.utime(folder / "repo" / name, (time.time() - age,) * 2)
    store.put("repo/b", file(tmp_path, b"y"))
    assert sorted(os.listdir(folder / "repo")) == ["a", "b", "~young"]
    store.delete("repo/a")
    store.delete("repo/b")
    assert os.listdir(folder / "repo") == ["~young"]


# -- a bucket --


class _Echo(BaseHTTPRequestHandler):
    """Refuses everything, and tells in its refusal all that the request held."""

    def _refuse(self) -> None:
        seen.append(str(self.headers))
        body = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{self.headers} {os.environ['TEST_SECRET']}</Message>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = do_POST = do_DELETE = _refuse

    def log_message(self, format: str, *args: object) -> None:
        pass


seen: list[str] = []


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    monkeypatch.setenv("TEST_KEY", "AKIATHEIRS")
    monkeypatch.setenv("TEST_SECRET", "wJalrXUtnFEMI-secret")


@pytest.mark.usefixtures("keys")
def test_nothing_secret_is_told_of_a_refusal(tmp_path: Path) -> None:
    """The service's text, which may hold parts of the signature, is never told; its status and its code are."""
    with HTTPServer(("127.0.0.1", 0), _Echo) as refusing:
        Thread(target=refusing.serve_forever, args=(0.01,), daemon=True).start()
        store = S3Store("cloud", s3_section(endpoint=f"http://127.0.0.1:{refusing.server_port}"), retries=0)
        calls: list[Callable[[], object]] = [
            lambda: store.put("a/b", file(tmp_path, b"x")),
            lambda: store.list("a"),
            lambda: store.delete("a/b"),
        ]
        for call in calls:
            with pytest.raises(StoreError) as refused:
                call()
            told = f"{refused.value.document()} {refused.value!r} {refused.value.__cause__!r}"
            assert "403 SignatureDoesNotMatch" in told
            for secret in ("AKIATHEIRS", "wJalr", "Signature=", "Credential="):
                assert secret not in told
        refusing.shutdown()
    assert "Credential=AKIATHEIRS" in seen[0]  # it was told to the service


@pytest.mark.usefixtures("keys")
def test_an_interrupt_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """^C ends the wait for a service that takes a connection and says nothing; so does its patience."""
    taken: list[socket.socket] = []

    def take() -> None:
        taken.append(silent.accept()[0])
        os.kill(os.getpid(), signal.SIGINT)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = S3Store("cloud", s3_section(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"), retries=0)
        Thread(target=take, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            store.list("a")
        taken[0].close()
        monkeypatch.setattr(s3, "_ANSWER", 0.05)
        with pytest.raises(StoreError, match="did not answer in time"):
            store.list("a")


@pytest.mark.usefixtures("keys")
def test_a_service_that_is_not_there_and_a_bucket_that_is_not(server: S3Server, tmp_path: Path) -> None:
    """Each is said for what it is, with nothing left behind; a missing bucket is not a missing file."""
    source, out = file(tmp_path, b"x"), tmp_path / "out"
    for endpoint, text in (("http://127.0.0.1:9", "could not be reached"), (server.endpoint, "404 NoSuchBucket")):
        store = S3Store("cloud", s3_section(endpoint=endpoint, bucket="no-such-bucket"), retries=0)
        calls: list[Callable[[], object]] = [store.prepare, partial(store.put, "a", source), partial(store.list, "")]
        for call in calls:
            with pytest.raises(StoreError, match=text):
                call()
        with pytest.raises((StoreError, KeyError)):
            store.get("a", str(out))
        assert not out.exists()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"endpoint": "http://nas.example.org:9000"}, "not https"),
        ({"endpoint": "http://127.0.0.1.example.org"}, "not https"),
        ({"endpoint": "https://user:hunter2@s3.example.org"}, "holds a login"),
        ({"bucket": ""}, "bucket is not set"),
        ({"prefix": "a b"}, "prefix"),
        ({"key_env": "NO_SUCH_KEY"}, r"\$NO_SUCH_KEY is not set"),
        ({"secret_env": "hunter2"}, "the variable that secret_env names is not set"),
    ],
)
@pytest.mark.usefixtures("keys")
def test_a_section_that_is_not_whole(more: dict[str, str], text: str) -> None:
    """It is refused before a byte is sent, and what looks like a password is not repeated."""
    store = S3Store("cloud", s3_section(**more))
    with pytest.raises(ConfigError, match=text) as refused:
        store.list("")
    assert "hunter2" not in str(refused.value.document())


@pytest.mark.usefixtures("keys")
def test_a_bucket_without_a_prefix(server: S3Server, tmp_path: Path) -> None:
    """Keys are what the bucket holds; a prefix is only put before them."""
    bucket = server.make_bucket("without-a-prefix")
    whole, part = (S3Store("s", s3_section(endpoint=server.endpoint, bucket=bucket, prefix=p)) for p in ("", "k1"))
    part.put("repo/x", file(tmp_path, b"x"))
    whole.put("k10/y", file(tmp_path, b"y"))
    assert whole.list("") == [("k1/repo/x", 1), ("k10/y", 1)] and part.list("") == [("repo/x", 1)]
    assert kept(whole, "k1/repo/x", tmp_path) == b"x"


def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without obstore it is said how to get it."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(NotFoundError, match="obstore is not installed") as missing:
        S3Store("cloud", s3_section(endpoint="")).list("")
    assert missing.value.hint == "pip install 'k1ctl[s3]'"
    assert isinstance(missing.value, K1ctlError)


def test_archives_through_a_bucket(server: S3Server, workspace: Project) -> None:
    """`archive push` and `pull` through a real S3 server; the keys stand in no event and no output."""
    env: dict[str, str | None] = {"TEST_KEY": "AKIAOURS", "TEST_SECRET": "wJalr-our-secret"}
    workspace.configure(server.toml("cloud", server.make_bucket("archives")) + '[archive]\nstore = "cloud"\n')
    archive = archived(workspace)
    missing = workspace.run("archive", "push", archive.id)
    missing.assert_fails(78, "$TEST_KEY and $TEST_SECRET is not set", 'key_env = ""')
    pushed = workspace.run("archive", "push", "--all", env=env).assert_ok()
    said = pushed.stdout + pushed.stderr + "".join(p.read_text() for p in (workspace.ops / "events").iterdir())
    assert "archive.pushed" in said and "AKIAOURS" not in said and "wJalr" not in said
    workspace.git("update-ref", "-d", archive.ref)
    mended = workspace.run("archive", "pull", archive.id, "--json", env=env).assert_ok().json
    assert mended["outcome"] == "repaired" and workspace.git("rev-parse", archive.ref) == archive.manifest["commit"]
