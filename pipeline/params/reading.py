"""From a file to checked settings; what is wrong is named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import UserError
from pipeline.params.whole import Params


def read_yaml(path: Path | str) -> Any:
    """Read a YAML 1.2 file as plain values. Raises `UserError` with the place of a syntax error."""
    try:
        return YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path} is missing; copy profiles/laptop.yaml to it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: it is not UTF-8 text ({error.reason})") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{place} is not valid YAML: {getattr(error, 'problem', error)}") from None


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check the settings. Raises `UserError` naming the first wrong setting."""
    return checked(read_yaml(path), path)


def checked(values: Any, path: Path | str) -> Params:
    """The settings that were read from `path`. Raises `UserError` naming the first wrong one."""
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no settings; copy profiles/laptop.yaml to it")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first finding of pydantic as one line with the dotted name of the setting."""
    findings = error.errors()
    finding = findings[0]
    name = ".".join(map(str, finding["loc"])) or "the file"
    if finding["type"] == "extra_forbidden":
        text = "is not a known setting; check its spelling"
    elif finding["type"] == "missing":
        text = "is missing"
    else:
        text = f"{finding['msg'].removeprefix('Value error, ')} (it is {finding['input']!r:.80})"
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{name}: {text}{more}"
