"""`neurop serve`: an MLflow server in the foreground, for one machine or for several."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from pipeline.errors import UserError
from pipeline.tracking import address

DATABASES = ("sqlite", "postgresql")
SECONDS_TO_CONNECT = 5
HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Server:
    """What `mlflow server` is started with; `checked` makes one.

    `allowed`: the Host headers that it answers, as a browser sends them: another name that points here is refused.
    """

    host: str
    port: int
    allowed: tuple[str, ...]
    database: str
    artefacts: str

    @property
    def address(self) -> str:
        """What a client on this machine sets."""
        anywhere = self.host in ("0.0.0.0", "::")
        host = "127.0.0.1" if anywhere else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def command(self) -> list[str]:
        """The command line. The database is not in it: every user of the machine can read command lines."""
        origins = [f"{scheme}://{host}" for host in self.allowed for scheme in ("http", "https")]
        return [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", self.host, "--port", str(self.port), "--workers", "1"),
            *("--allowed-hosts", ",".join(self.allowed), "--cors-allowed-origins", ",".join(origins)),
            *("--serve-artifacts", "--artifacts-destination", self.artefacts),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The environment: it names the database, and keeps MLflow from reporting its use and from running jobs."""
        return {
            **{key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            "MLFLOW_BACKEND_STORE_URI": self.database,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }


def serve(host: str, port: int, allow: Sequence[str], database: str, artefacts: str) -> NoReturn:
    """Become an MLflow server. Raises `UserError` if it could not start, or would be open to more than is allowed."""
    server = checked(host, port, allow, database, artefacts)
    print(f"MLflow at {server.address}; in other shells: export MLFLOW_TRACKING_URI={server.address}", flush=True)
    os.execve(sys.executable, server.command, server.environment)


def checked(host: str, port: int, allow: Sequence[str], database: str, artefacts: str) -> Server:
    """The server that these arguments ask for. Raises `UserError` for what it could not be started with."""
    if importlib.util.find_spec("mlflow") is None:
        raise UserError("MLflow is not installed; install it with `pip install mlflow`")
    own = () if host in ("0.0.0.0", "::") else (f"[{host}]:{port}" if ":" in host else f"{host}:{port}",)
    allowed = (f"localhost:{port}", f"127.0.0.1:{port}", *own, *_allowed(host, port, allow))
    server = Server(host, port, tuple(dict.fromkeys(allowed)), _database(database), _artefacts(artefacts))
    _check_port(host, port)
    return server


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _allowed(host: str, port: int, allow: Sequence[str]) -> Sequence[str]:
    open_to_others = not _loopback(host)
    if open_to_others and not allow:
        raise UserError(
            f"--host {host} lets other machines in, and MLflow asks no one for a password; "
            f"name the address that they use with --allow HOST:{port}, or leave --host out"
        )
    for one in allow:
        match = HOST.fullmatch(one)
        if match is None or int(match["port"] or 1) not in range(1, 65536):
            raise UserError(f"--allow '{one}' is no address; give HOST:PORT, such as gpu1.example.org:{port}")
        if open_to_others and match["port"] is None:
            raise UserError(f"--allow {one} lacks the port, which browsers send too; give {one}:{port}")
    return allow


def _check_port(host: str, port: int) -> None:
    if port not in range(1, 65536):
        raise UserError(f"--port {port} is no port; give one from 1 to 65535")
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken" if taken else f"cannot be listened on ({error.strerror or error})"
        raise UserError(
            f"port {port} of {host} {reason}; give another with {'--port' if taken else '--host'}"
        ) from None


def _database(uri: str) -> str:
    """The address of a database that answers."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in DATABASES or "://" not in uri:
        shown = address.without_password(uri)
        raise UserError(f"--database '{shown}' is none; give sqlite:///FILE or postgresql://USER@HOST/NAME")
    if scheme == "sqlite":
        path = address.sqlite_file(uri)
        if path is None or not path.name:
            raise UserError(f"--database '{uri}' names no file; give sqlite:///FILE")
        address.check_sqlite(path, "give another with --database")
        return f"sqlite:///{path.absolute()}"
    _check_postgresql(uri)
    return uri


def _check_postgresql(uri: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(uri, connect_args={"connect_timeout": SECONDS_TO_CONNECT})
        engine.connect().close()
        engine.dispose()
    except ImportError as error:
        raise UserError(f"PostgreSQL's driver is missing ({error}); run `pip install -e '.[postgresql]'`") from None
    except (SQLAlchemyError, ValueError, TypeError) as error:
        # The driver's own first line; what SQLAlchemy adds repeats it, and might repeat the address.
        text = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()
        reason = address.without_password(text[0] if text else type(error).__name__)[:200]
        shown = address.without_password(uri)
        raise UserError(f"the database {shown} does not answer ({reason}); start it, or correct --database") from None


def _artefacts(place: str) -> str:
    """A folder that can be written, made if it is not there, or a place in S3."""
    parts = urlsplit(place)
    if parts.scheme == "s3":
        if not parts.netloc or parts.query or "@" in parts.netloc:
            shown = address.without_password(place)
            raise UserError(
                f"--artefacts '{shown}' is no place in S3; give s3://BUCKET/FOLDER, and keys as AWS_… variables"
            )
        if importlib.util.find_spec("boto3") is None:
            raise UserError("for artefacts in S3 boto3 is missing; run `pip install boto3`")
        return place
    if parts.scheme:
        shown = address.without_password(place)
        raise UserError(f"--artefacts '{shown}' is neither a folder nor in S3; give FOLDER or s3://BUCKET/FOLDER")
    folder = Path(place).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--artefacts {place} is no folder ({error.strerror}); give another") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"--artefacts {place} cannot be written; give another folder")
    return str(folder)
