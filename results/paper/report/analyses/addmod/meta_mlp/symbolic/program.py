"""(a + b) mod p by a Transformer whose weights are polynomials in s = math.log(p / 100).

Reads coefficients.csv beside it.
"""

import csv
import math
from pathlib import Path

SHAPES = {"W_E": [97, 16], "W_Q": [2, 16, 8], "b_Q": [2, 8], "W_K": [2, 16, 8], "b_K": [2, 8], "W_V": [2, 16, 8], "b_V": [2, 8], "W_in": [16, 64], "b_in": [64], "W_out": [64, 16], "b_out": [16], "W_U": [16, 97]}
DEGREE = 3
HEADS, D_HEAD, D_MODEL, D_MLP = 2, 8, 16, 64


def coefficients(path=None):
    """The rows of the table, by tensor."""
    table = {name: [] for name in SHAPES}
    with open(path or Path(__file__).parent / "coefficients.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            table[row["tensor"]].append([float(row[f"c{d}"]) for d in range(DEGREE + 1)])
    return table


def weights(p, table):
    """Every tensor of the network for p, as a flat list."""
    s = math.log(p / 100)
    return {name: [sum(c * s**d for d, c in enumerate(row)) for row in rows] for name, rows in table.items()}


def add(x, y):
    return [a + b for a, b in zip(x, y)]


def times(x, matrix, columns):
    """A row times a matrix that is stored row by row."""
    return [sum(value * matrix[i * columns + j] for i, value in enumerate(x)) for j in range(columns)]


def answer(p, a, b, w):
    """The most likely token after a, b, with weights w for p."""
    stream = [w["W_E"][token * D_MODEL : (token + 1) * D_MODEL] for token in (a, b)]
    update = []
    for head in range(HEADS):
        part = slice(head * D_MODEL * D_HEAD, (head + 1) * D_MODEL * D_HEAD)
        bias = slice(head * D_HEAD, (head + 1) * D_HEAD)
        query = add(times(stream[1], w["W_Q"][part], D_HEAD), w["b_Q"][bias])
        keys = [add(times(x, w["W_K"][part], D_HEAD), w["b_K"][bias]) for x in stream]
        values = [add(times(x, w["W_V"][part], D_HEAD), w["b_V"][bias]) for x in stream]
        scores = [sum(q * k for q, k in zip(query, key)) / math.sqrt(D_HEAD) for key in keys]
        highest = max(scores)
        shares = [math.exp(score - highest) for score in scores]
        total = sum(shares)
        update += [sum(share * value[e] for share, value in zip(shares, values)) / total for e in range(D_HEAD)]
    x = add(stream[1], update)
    hidden = [max(0.0, h) for h in add(times(x, w["W_in"], D_MLP), w["b_in"])]
    x = add(x, add(times(hidden, w["W_out"], D_MODEL), w["b_out"]))
    logits = times(x, w["W_U"], len(w["W_U"]) // D_MODEL)
    return max(range(len(logits)), key=logits.__getitem__)
