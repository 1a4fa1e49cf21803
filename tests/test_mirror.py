"""What a report takes from MLflow is checked before it becomes a file."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import UserError
from pipeline.mirror import checked

FINDING = {"name": "geometry", "tables": ["intent"], "figures": ["intent"], "programs": []}
GOOD = {
    "metrics/splits/addmod.json": "{}",
    "graphs/addmod/graph.svg": "<svg></svg>",
    "analyses/addmod/meta_mlp/geometry/finding.json": json.dumps(FINDING),
    "analyses/addmod/meta_mlp/geometry/intent.svg": "<svg></svg>",
    "analyses/addmod/meta_mlp/symbolic/program.py": "print(1)",
}


def test_what_publish_wrote_is_taken() -> None:
    assert checked("addmod", GOOD) == GOOD


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("/etc/x.json", "{}", "leads out"),
        ("analyses/addmod/../../x.json", "{}", "leads out"),
        ("analyses/sumfirst/meta_mlp/geometry/x.csv", "", "no file of a report"),
        ("analyses/addmod/meta_mlp/geometry/x.pt", "", "no file of a report"),
        ("analyses/addmod/meta mlp/geometry/x.csv", "", "name that no analysis gives"),
        ("graphs/addmod/graph.svg", "<svg><script>1</script></svg>", "holds a script"),
        ("graphs/addmod/graph.svg", "<svg onload='1'></svg>", "holds a script"),
        ("graphs/addmod/graph.svg", 5, "is no text"),
        ("graphs/addmod/graph.svg", "x" * (1 << 24), "is longer than"),
        ("analyses/addmod/meta_mlp/geometry/finding.json", "[]", "is no analysis"),
        (
            "analyses/addmod/meta_mlp/geometry/finding.json",
            json.dumps({**FINDING, "figures": ["../../x"]}),
            "names files that no analysis has",
        ),
    ],
)
def test_anything_else_is_refused(name: str, text: object, why: str) -> None:
    with pytest.raises(UserError, match=why):
        checked("addmod", {**GOOD, name: text})


def test_what_is_no_table_of_texts_is_refused() -> None:
    with pytest.raises(UserError, match="holds no texts"):
        checked("addmod", [1])
