"""Where tracking is, and whether anyone answers there: asked before the slow import of MLflow."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.errors import UserError

DEFAULT = "sqlite:///mlflow.db"
ARTEFACTS = "mlartifacts"
SECONDS_TO_ANSWER = 5.0
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}


def enabled() -> bool:
    """Whether `NEUROP_TRACKING` leaves tracking on."""
    value = os.environ.get("NEUROP_TRACKING", "on")
    if value not in ("on", "off"):
        raise UserError(f"NEUROP_TRACKING is '{value}'; give on or off")
    return value == "on"


def uri() -> str:
    """The tracking address."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT


def shown() -> str:
    """The tracking address without a password, for messages."""
    return without_password(uri())


def without_password(text: str) -> str:
    """A text, such as an address, without the names and passwords of addresses in it."""
    text = re.sub(r"//[^/\s]*@", "//", text)
    return re.sub(r"(?i)(password=)[^&\s]*", r"\1…", text)


def served() -> bool:
    """Whether the address is a server's, which has pages."""
    return uri().startswith(("http://", "https://"))


def database() -> Path | None:
    """The file of a SQLite address, None for any other."""
    return sqlite_file(uri())


def sqlite_file(address: str) -> Path | None:
    """The file that an address of SQLite names, None for any other address."""
    head, found, path = address.partition("sqlite:///")
    return Path(path) if found and not head else None


def check() -> None:
    """Raise `UserError` if nothing answers at the address.

    MLflow would say the same after minutes of retries, or not at all.
    """
    path = database()
    if path is not None:
        check_sqlite(path, _advice())
        return
    try:
        parts = urlsplit(uri())
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    except ValueError as error:
        raise UserError(f"MLFLOW_TRACKING_URI is '{shown()}' ({error}); {_advice()}") from None
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise UserError(f"MLFLOW_TRACKING_URI is '{shown()}', which names no host; {_advice()}")
    if parts.hostname and port and not _proxied(parts):
        try:
            socket.create_connection((parts.hostname, port), SECONDS_TO_ANSWER).close()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"MLflow does not answer at {shown()} ({reason}); start it, or {_advice()}") from None


def _advice() -> str:
    return f"set MLFLOW_TRACKING_URI to http://HOST:PORT or {DEFAULT}"


def _proxied(parts: SplitResult) -> bool:
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")


def check_sqlite(path: Path, advice: str) -> None:
    """Raise `UserError`, ending with `advice`, if the file cannot be opened as a database; it is made if missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            connection.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise UserError(f"the MLflow database {path} cannot be opened ({error}); {advice}") from None


@contextmanager
def exclusive() -> Iterator[None]:
    """Keep this machine's other processes from creating databases, experiments and runs at the same address."""
    path = database()
    if path is None:
        name = hashlib.sha256(uri().encode()).hexdigest()[:16]
        lock = Path(tempfile.gettempdir()) / f"neurop-tracking-{os.getuid()}-{name}.lock"
    else:
        lock = path.with_name(f"{path.name}.lock")
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
