"""Known holes in the installed packages, by pip-audit: exit code 1 if there are any.

pip-audit calls a package that its database does not know free of holes. So the database is asked for one first, and
where it does not answer that is said, and no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

SECONDS = 600
PROBE = "jinja2"


def audit(*arguments: str) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says of each package, and the last line of what it wrote beside."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return [], f"no answer in {SECONDS} s"
    found = json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []
    return found, (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def probe() -> str:
    """Why the database cannot be asked; empty if it can."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text(f"{PROBE}=={version(PROBE)}\n", encoding="utf-8")
        found, why = audit("--no-deps", "--disable-pip", "--requirement", str(file))
    return str(found[0].get("skip_reason", "")) if found else why


def main() -> int:
    """Ask, and print a line a hole."""
    if why := probe():
        print(f"audit: not done, its database has no answer here ({why})")
        return 0
    found, why = audit("--local", "--skip-editable")
    skipped = [each["name"] for each in found if "skip_reason" in each]
    holes = [(each, hole) for each in found for hole in each.get("vulns", [])]
    for each, hole in holes:
        repaired = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"audit: {each['name']} {each['version']} has {hole['id']}, repaired in {repaired}")
    asked = len(found) - len(skipped)
    print(f"audit: {asked} packages, known holes: {len(holes)}" if found else f"audit: not done ({why})")
    if skipped:
        print(f"audit: not known to the database: {', '.join(skipped)}")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
