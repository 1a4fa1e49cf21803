"""Real servers: one of Prefect for all tests of the cluster, one of S3 for a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.cluster import toy
from tests.helpers import free_port


class Server:
    """A Prefect server that can be killed and started again, with its database."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(self.port)]
        self.process = toy.start(self.home, self.home / "log", *command, PREFECT_HOME=str(self.home))
        toy.until(self.answers, "the Prefect server answers")

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with urlopen(f"{self.url}/health", timeout=2) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False

    def kill(self) -> None:
        """As if its machine had lost power."""
        toy.stop(self.process)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("prefect"))
    yield made
    made.kill()


class S3:
    """An S3 server with a bucket `runs`, that can be stopped and started again with what is in it."""

    keys: ClassVar = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "never-said",
        "AWS_DEFAULT_REGION": "us-east-1",
    }

    def __init__(self) -> None:
        self.port = free_port()
        self.options = {"endpointurl": f"http://127.0.0.1:{self.port}"}
        self.start()
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "never-said"}
        boto3.client("s3", endpoint_url=self.options["endpointurl"], **keys).create_bucket(Bucket="runs")

    def start(self) -> None:
        """Answer, from now on."""
        self._server = ThreadedMotoServer("127.0.0.1", self.port)
        self._server.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop()


@pytest.fixture
def s3() -> Iterator[S3]:
    made = S3()
    yield made
    made.stop()
