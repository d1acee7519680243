"""A real S3 server on this host: moto's, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from types import TracebackType

from k1ctl.testing import TEST_ID

_SERVE = """
import sys
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, create_backend_app("s3"), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


class S3Server:
    """``with S3Server() as s3:`` serves until the block ends; ``endpoint`` is its URL. Any keys will do."""

    def __enter__(self) -> S3Server:
        argv = [sys.executable, "-c", _SERVE]
        env = {k: v for k, v in os.environ.items() if k != TEST_ID}  # it serves several tests
        self.process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def make_bucket(self, name: str) -> str:
        """Make a bucket; returns its name."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        return name

    def toml(self, store: str, bucket: str) -> str:
        """The section of the configuration for a store in ``bucket``, its keys in TEST_KEY and TEST_SECRET."""
        return (
            f'[stores.{store}]\nkind = "s3"\nbucket = "{bucket}"\nendpoint = "{self.endpoint}"\n'
            'key_env = "TEST_KEY"\nsecret_env = "TEST_SECRET"\n'
        )
