"""A store in a bucket of any service that speaks S3, by the library obstore.

The keys come from the environment variables that ``key_env`` and ``secret_env`` name; where ``key_env`` is empty, from
what AWS gives a machine (web identity, container, instance). What the service says in an error may hold parts of a
signature, so only its status and its code (``AccessDenied``) are told. The bucket is addressed in the path.
"""

from __future__ import annotations

import os
import re

from k1ctl.errors import ConfigError, NotFoundError
from k1ctl.stores import Store, StoreError, check_key, is_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

PART = 8 << 20  # bytes of one request: S3 takes 10,000 parts, so files up to 78 GiB
_AT_ONCE = 4  # parts under way
_CONNECT, _ANSWER, _REQUEST = 10, 20, 300  # s: until it answers; a request without a file in it; one with a part
_KEEP_TRYING = 120  # s: from the first try of a request to the last
_RETRIES = 4
_LOOPBACK = re.compile(r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?/?", re.IGNORECASE)
_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"(?:status code|error code): (\d{3})|\b(\d{3}) (?:Forbidden|Unauthorized|Not Found)")


class S3Store(Store):
    """The store ``name`` as its ``section`` of the configuration says. ``retries``: of each request.

    Every use raises ConfigError while the section is not whole or the keys are missing.
    """

    def __init__(self, name: str, section: Mapping[str, str], *, retries: int = _RETRIES) -> None:
        self.name, self.section, self.retries = name, section, retries
        self.prefix = section["prefix"].strip("/")
        self._clients: dict[int, Any] = {}  # by their patience, in seconds

    def prepare(self) -> None:
        self.list("")

    def put(self, key: str, path: str) -> None:
        from k1ctl.files import read_bytes

        place = self._place(key)
        try:
            if os.stat(path).st_size <= PART:
                self._do("put", key, place, read_bytes(path) or b"", use_multipart=False)
                return
            with open(path, "rb") as source:
                self._do("put", key, place, source, use_multipart=True, chunk_size=PART, max_concurrency=_AT_ONCE)
        except OSError as exc:
            raise StoreError(f"store {self.name}: {exc.strerror}: {path}") from exc

    def get(self, key: str, path: str) -> None:
        place = self._place(key)
        about = self._do("head", key, place)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as out:
                try:
                    for start in range(0, int(about["size"]), PART):
                        out.write(self._part(key, place, start, about))
                    out.flush()
                    os.fsync(fd)
                except BaseException:
                    os.unlink(path)
                    raise
        except OSError as exc:
            raise StoreError(f"store {self.name}: {exc.strerror}: {path}") from exc

    def _part(self, key: str, place: str, start: int, about: Mapping[str, Any]) -> bytes:
        """One request's worth of a file, which has to be the one that ``about`` tells of."""
        end = min(start + PART, int(about["size"]))
        only = {"if_match": about["e_tag"]} if about.get("e_tag") else {}
        answer = self._do("get", key, place, options={"range": (start, end), **only})
        try:
            data: bytes = _apart(lambda: bytes(answer.bytes()))
        except Exception as exc:  # the library's errors have no common base with Python's
            raise self._failure("get", key, exc) from None
        if len(data) != end - start:
            raise StoreError(f"store {self.name}: {key} was cut short", hint="call it again")
        return data

    def list(self, prefix: str) -> list[tuple[str, int]]:
        folder = prefix.rpartition("/")[0]
        if folder and not is_key(folder):
            return []
        below = "/".join(part for part in (self.prefix, folder) if part)
        cut = len(self.prefix) + 1 if self.prefix else 0
        library, client = self._library(), self._open(_ANSWER)
        try:
            batches = _apart(lambda: [*library.list(client, prefix=below or None)])
            found = [(str(row["path"])[cut:], int(row["size"])) for batch in batches for row in batch]
        except (StoreError, ConfigError, NotFoundError):
            raise
        except Exception as exc:
            raise self._failure("list", prefix, exc) from None
        return sorted((key, size) for key, size in found if key.startswith(prefix) and is_key(key))

    def delete(self, key: str) -> None:
        try:
            self._do("delete", key, self._place(key))
        except KeyError:
            pass

    def _place(self, key: str) -> str:
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def _do(self, verb: str, key: str, *args: Any, **kwargs: Any) -> Any:
        """Call the library. Raises StoreError, KeyError when there is nothing under ``key``."""
        function = getattr(self._library(), verb)
        client = self._open(_REQUEST if verb in ("put", "get") else _ANSWER)
        try:
            return _apart(lambda: function(client, *args, **kwargs))
        except FileNotFoundError as exc:
            if _CODE.findall(str(exc)) == ["NoSuchBucket"] or verb == "put":
                raise self._failure(verb, key, exc) from None
            raise KeyError(key) from None
        except Exception as exc:  # the library's errors have no common base with Python's
            raise self._failure(verb, key, exc) from None

    def _library(self) -> Any:
        try:
            import obstore
        except ImportError as exc:
            hint = "pip install 'k1ctl[s3]'"
            raise NotFoundError(f"store {self.name}: obstore is not installed", hint=hint) from exc
        return obstore

    def _check(self) -> None:
        endpoint, why = self.section["endpoint"], ""
        if not self.section["bucket"]:
            why = "bucket is not set"
        elif self.prefix and not is_key(self.prefix):
            why = f"prefix {self.prefix!r} has what keys do not take"
        elif "@" in endpoint:
            why = "endpoint holds a login; keys belong into the variables that key_env and secret_env name"
        elif endpoint and not endpoint.startswith("https://") and not _LOOPBACK.fullmatch(endpoint):
            why = f"endpoint {endpoint} is not https; plain http is for a service on this host only"
        if why:
            raise ConfigError(f"[stores.{self.name}] {why}", code="bad-store")

    def _open(self, seconds: int) -> Any:
        if seconds not in self._clients:
            from datetime import timedelta

            self._check()
            self._library()
            from obstore.store import S3Store as Bucket

            endpoint, region = self.section["endpoint"].rstrip("/"), self.section["region"]
            config: Any = {"virtual_hosted_style_request": False, "disable_bulk_delete": True}
            if endpoint:  # a service that has no regions still wants one in the signature
                config |= {"endpoint": endpoint, "region": region or "us-east-1"}
            elif region:
                config |= {"region": region}
            self._clients[seconds] = Bucket(
                self.section["bucket"],
                config=config,
                credential_provider=self._keys(),
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=_CONNECT),
                    "timeout": timedelta(seconds=seconds),
                },
                retry_config={"max_retries": self.retries, "retry_timeout": timedelta(seconds=_KEEP_TRYING)},
            )
        return self._clients[seconds]

    def _keys(self) -> Any:
        """What gives the library the keys; None leaves it to find what AWS gives a machine. Raises ConfigError."""
        key_env, secret_env = self.section["key_env"], self.section["secret_env"]
        if not key_env:
            return None
        key, secret = os.environ.get(key_env, ""), os.environ.get(secret_env, "")
        if not key or not secret:
            pairs = (("key_env", key_env, key), ("secret_env", secret_env, secret))
            missing = " and ".join(_variable(setting, name) for setting, name, value in pairs if not value)
            raise ConfigError(
                f"store {self.name}: {missing} is not set",
                hint=f'set it, or [stores.{self.name}] key_env = "" for what AWS gives this machine',
                code="store-keys",
            )
        token = os.environ.get("AWS_SESSION_TOKEN") if key_env == "AWS_ACCESS_KEY_ID" else None
        keys = {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}
        return lambda: dict(keys)

    def _failure(self, verb: str, key: str, exc: Exception) -> StoreError:
        """What is told of the library's error: nothing of the request, of the service's text its code alone."""
        text = str(exc)
        codes, statuses = _CODE.findall(text), [a or b for a, b in _STATUS.findall(text)]
        if not self.section["key_env"] and re.search("169\\.254\\.|/credentials|sts\\.", text):
            why = "AWS gives this machine no keys"
        elif codes or statuses:
            why = f"the service answered {' '.join([*statuses[:1], *codes[:1]])}"
        elif "Connect" in text:
            why = "the service could not be reached"
        elif "Timeout" in text or "timed out" in text:
            why = "the service did not answer in time"
        elif "redential" in text:
            why = "no keys were found"
        else:
            why = f"{type(exc).__name__} of the library"
        where = self.section["endpoint"] or "AWS"
        hints = {"NoSuchBucket": "make the bucket first", "PreconditionFailed": "it was replaced meanwhile: call again"}
        hint = hints.get(codes[0] if codes else "", "check endpoint, bucket and keys")
        return StoreError(
            f"store {self.name}: {verb} {key or 'all'} in {self.section['bucket']} at {where}: {why}", hint=hint
        )


def _apart(work: Callable[[], Any]) -> Any:
    """What ``work`` returns or raises, called in a thread of its own: the library holds back ^C while it waits."""
    from threading import Thread

    done: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            done.append((work(), None))
        except BaseException as exc:
            done.append((None, exc))

    thread = Thread(target=run, daemon=True)  # it ends with the process
    thread.start()
    thread.join()
    value, failed = done[0]
    if failed is not None:
        raise failed
    return value


def _variable(setting: str, name: str) -> str:
    """How a variable is told: by its name, unless that may be the key itself, put there by mistake."""
    return f"${name}" if _NAME.fullmatch(name) else f"the variable that {setting} names"
