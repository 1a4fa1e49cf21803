"""The sum of the first entries of a list, as recovered from the weights."""


def answer(n, x):
    """The sum of the first 1 n +0 entries."""
    return sum(x[: round(1 * n +0)])
