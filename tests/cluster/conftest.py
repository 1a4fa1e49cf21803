"""A real Prefect server, once for all tests of the cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

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
