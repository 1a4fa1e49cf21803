"""Triton kernels of the operations on all edges of a graph; `operations` says what they are, `triton_launch` runs them.

A program takes a node (of all intents, one after the other) and walks along its spans of edges (`spans.Spans`), C edges
at a time, with the hidden layer [C, M] in registers. Sizes d and m are padded to D and M; what is padded reads as zero.

WAYS: directions in which edges carry messages, 0 along them and 1 against them. ends [K, n, P, m] are the nodes' parts
of a first layer: of a message in way w part 2w is the receiver's and 2w + 1 the sender's; of an edge update part 0 is
the source's and 1 the target's. Table 0 of spans is that of targets, which hear in way 0, and 1 that of sources.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _act(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        y = tl.maximum(x, 0.0)
    elif ACTIVATION == "silu":
        y = x * tl.sigmoid(x)
    elif ACTIVATION == "gelu":
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == "softplus":
        y = tl.where(x > 20.0, x, tl.log(1.0 + tl.exp(tl.minimum(x, 20.0))))
    else:
        tl.static_assert(ACTIVATION == "tanh")
        y = 2.0 * tl.sigmoid(2.0 * x) - 1.0
    return y


@triton.jit
def _slope(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        y = tl.where(x > 0.0, 1.0, 0.0)
    elif ACTIVATION == "silu":
        s = tl.sigmoid(x)
        y = s * (1.0 + x * (1.0 - s))
    elif ACTIVATION == "gelu":
        y = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476)) + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
    elif ACTIVATION == "softplus":
        y = tl.where(x > 20.0, 1.0, tl.sigmoid(x))
    else:
        tl.static_assert(ACTIVATION == "tanh")
        t = 2.0 * tl.sigmoid(2.0 * x) - 1.0
        y = 1.0 - t * t
    return y


@triton.jit
def _vector(start, offset, size, PADDED: tl.constexpr):
    """`size` numbers, padded with zeros."""
    at = tl.arange(0, PADDED)
    return tl.load(start + offset + at, mask=at < size, other=0.0)


@triton.jit
def _matrix(start, pack, rows, columns, R: tl.constexpr, S: tl.constexpr):
    """One pack's matrix [rows, columns] of an array of them, padded with zeros to [R, S]."""
    i, j = tl.arange(0, R)[:, None], tl.arange(0, S)[None, :]
    return tl.load(start + pack * rows * columns + i * columns + j, mask=(i < rows) & (j < columns), other=0.0)


@triton.jit
def _set_matrix(start, which, value, rows, columns, R: tl.constexpr, S: tl.constexpr):
    i, j = tl.arange(0, R)[:, None], tl.arange(0, S)[None, :]
    tl.store(start + which * rows * columns + i * columns + j, value, mask=(i < rows) & (j < columns))


@triton.jit
def _rows(start, which, live, size, PADDED: tl.constexpr):
    """Rows of `size` numbers [C, PADDED], zero where they are not live."""
    at = tl.arange(0, PADDED)[None, :]
    return tl.load(start + which[:, None] * size + at, mask=live[:, None] & (at < size), other=0.0)


@triton.jit
def _set_rows(start, which, live, size, value, PADDED: tl.constexpr):
    at = tl.arange(0, PADDED)[None, :]
    tl.store(start + which[:, None] * size + at, value, mask=live[:, None] & (at < size))


@triton.jit
def _bounds(starts, table, i, n):
    """The first span of node i, and the one after its last."""
    at = starts + table * (n + 1) + i
    return tl.load(at), tl.load(at + 1)


@triton.jit
def _span(spans, s):
    """First edge, edges between one and the next, the first one's other end, and how many."""
    at = spans + 4 * s
    return tl.load(at).to(tl.int64), tl.load(at + 1).to(tl.int64), tl.load(at + 2).to(tl.int64), tl.load(at + 3)


@triton.jit
def gather(
    edges, ends, first, score, values, total, peak, starts, spans,
    n, e, d, m, per_pack,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WAYS: tl.constexpr, WITH: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64)
    k, i = at // n, at % n
    sums, sum_w, top = tl.zeros([M], tl.float32), tl.zeros([1], tl.float32), tl.full([1], float("-inf"), tl.float32)
    for way in tl.static_range(WAYS):
        w = _matrix(first, k // per_pack * WAYS + way, m, d, M, D)
        v = _vector(score, (k // per_pack * WAYS + way) * m, m, M)
        own = _vector(ends, (at * 2 * WAYS + 2 * way) * m, m, M)
        begin, end = _bounds(starts, way, i, n)
        for s in range(begin, end):
            edge, step, other, count = _span(spans, s)
            for done in range(0, count, C):
                j = done + tl.arange(0, C)
                live = j < count
                h = _rows(edges, k * e + edge + j * step, live, d, D)
                said = _rows(ends, (k * n + other + j) * 2 * WAYS + 2 * way + 1, live, m, M)
                x = tl.dot(h, tl.trans(w), input_precision=PRECISION) + own[None, :] + said
                hidden = _act(x, ACTIVATION)
                if WITH:
                    logits = tl.where(live, tl.sum(hidden * v[None, :], 1), float("-inf"))
                    higher = tl.maximum(top, tl.max(logits, 0))
                    shrink, each = tl.exp(top - higher), tl.exp(logits - higher)
                    sums = sums * shrink + tl.sum(hidden * each[:, None], 0)
                    sum_w = sum_w * shrink + tl.sum(each, 0)
                    top = higher
                else:
                    sums += tl.sum(tl.where(live[:, None], hidden, 0.0), 0)
    units = tl.arange(0, M)
    tl.store(values + at * m + units, sums, mask=units < m)
    if WITH:
        one = tl.arange(0, 1)
        tl.store(total + at + one, sum_w)
        tl.store(peak + at + one, top)


@triton.jit
def gather_back(
    edges, ends, first, score, d_values, d_total, peak, d_edges, d_ends, d_first, d_score, starts, spans,
    n, e, d, m, per_pack,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WAYS: tl.constexpr, WITH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """WHOLE: nodes are receivers, and all gradients are taken but those of the senders' parts. Else these alone."""
    program, pack = tl.program_id(0), tl.program_id(1).to(tl.int64)
    all_intents = tl.num_programs(1) * per_pack
    units = tl.arange(0, M)
    for way in tl.static_range(WAYS):
        w = _matrix(first, pack * WAYS + way, m, d, M, D)
        v = _vector(score, (pack * WAYS + way) * m, m, M)
        d_w, d_v = tl.zeros([M, D], tl.float32), tl.zeros([M], tl.float32)
        mine, table = (2 * way, way) if WHOLE else (2 * way + 1, 1 - way)
        theirs = 4 * way + 1 - mine
        for place in range(program, per_pack * n, tl.num_programs(0)):
            at = pack * per_pack * n + place
            k, i = at // n, at % n
            own, d_own = _vector(ends, (at * 2 * WAYS + mine) * m, m, M), tl.zeros([M], tl.float32)
            begin, end = _bounds(starts, table, i, n)
            for s in range(begin, end):
                edge, step, other, count = _span(spans, s)
                for done in range(0, count, C):
                    j = done + tl.arange(0, C)
                    live = j < count
                    h = _rows(edges, k * e + edge + j * step, live, d, D)
                    others = k * n + other + j
                    x = tl.dot(h, tl.trans(w), input_precision=PRECISION) + own[None, :]
                    x += _rows(ends, others * 2 * WAYS + theirs, live, m, M)
                    receivers = at + 0 * j if WHOLE else others
                    pull = _rows(d_values, receivers, live, m, M)
                    if WITH:
                        hidden = _act(x, ACTIVATION)
                        gone = tl.sum(hidden * v[None, :], 1) - tl.load(peak + receivers, mask=live, other=0.0)
                        each = tl.exp(tl.where(live, gone, float("-inf")))
                        d_sum = tl.load(d_total + receivers, mask=live, other=0.0)
                        d_logits = each * (tl.sum(hidden * pull, 1) + d_sum)
                        d_x = (each[:, None] * pull + d_logits[:, None] * v[None, :]) * _slope(x, ACTIVATION)
                    else:
                        d_x = pull * _slope(x, ACTIVATION)
                    d_own += tl.sum(d_x, 0)
                    if WHOLE:
                        d_h = tl.dot(d_x, w, input_precision=PRECISION)
                        _set_rows(d_edges, (way * all_intents + k) * e + edge + j * step, live, d, d_h, D)
                        d_w += tl.dot(tl.trans(d_x), h, input_precision=PRECISION)
                        if WITH:
                            d_v += tl.sum(hidden * d_logits[:, None], 0)
            tl.store(d_ends + (at * 2 * WAYS + mine) * m + units, d_own, mask=units < m)
        if WHOLE:
            which = (pack * tl.num_programs(0) + program) * WAYS + way
            _set_matrix(d_first, which, d_w, m, d, M, D)
            if WITH:
                tl.store(d_score + which * m + units, d_v, mask=units < m)


@triton.jit
def _normalised(new, d, EPS: tl.constexpr, D: tl.constexpr):
    """Numbers [C, D] with mean 0 and variance 1 over the d that are there, and 1 / their standard deviation [C, 1]."""
    there = tl.arange(0, D)[None, :] < d
    apart = tl.where(there, new - tl.sum(new, 1)[:, None] / d, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(apart * apart, 1) / d + EPS)
    return apart * scale[:, None], scale[:, None]


@triton.jit
def renew(
    edges, ends, first, second, bias, gain, shift, out, starts, spans,
    n, e, d, m, per_pack,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WITH: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Nodes are sources."""
    at = tl.program_id(0).to(tl.int64)
    k, i = at // n, at % n
    pack = k // per_pack
    w, w_2 = _matrix(first, pack, m, d, M, D), _matrix(second, pack, d, m, D, M)
    b = _vector(bias, pack * d, d, D)
    own = _vector(ends, 2 * at * m, m, M)
    begin, end = _bounds(starts, 1, i, n)
    for s in range(begin, end):
        edge, step, other, count = _span(spans, s)
        # Links come after the edges that have weights.
        for done in range(0, tl.where(edge < e, count, 0), C):
            j = done + tl.arange(0, C)
            live = j < count
            places = k * e + edge + j * step
            h = _rows(edges, places, live, d, D)
            x = tl.dot(h, tl.trans(w), input_precision=PRECISION) + own[None, :]
            x += _rows(ends, 2 * (k * n + other + j) + 1, live, m, M)
            new = h + tl.dot(_act(x, ACTIVATION), tl.trans(w_2), input_precision=PRECISION) + b[None, :]
            if WITH:
                even, _ = _normalised(new, d, EPS, D)
                new = even * _vector(gain, pack * d, d, D)[None, :] + _vector(shift, pack * d, d, D)[None, :]
            _set_rows(out, places, live, d, new, D)


@triton.jit
def renew_back(
    edges, ends, first, second, bias, gain, d_new, d_edges, d_ends, d_first, d_second, d_bias, d_gain, d_shift,
    starts, spans,
    n, e, d, m, per_pack,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WITH: tl.constexpr, EPS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """WHOLE: nodes are sources, and all gradients are taken but those of the targets' parts. Else these alone."""
    program, pack = tl.program_id(0), tl.program_id(1).to(tl.int64)
    units, depths = tl.arange(0, M), tl.arange(0, D)
    w, w_2 = _matrix(first, pack, m, d, M, D), _matrix(second, pack, d, m, D, M)
    b = _vector(bias, pack * d, d, D)
    d_w, d_w_2 = tl.zeros([M, D], tl.float32), tl.zeros([D, M], tl.float32)
    d_b, d_g, d_s = tl.zeros([D], tl.float32), tl.zeros([D], tl.float32), tl.zeros([D], tl.float32)
    mine, table = (0, 1) if WHOLE else (1, 0)
    for place in range(program, per_pack * n, tl.num_programs(0)):
        at = pack * per_pack * n + place
        k, i = at // n, at % n
        own, d_own = _vector(ends, (2 * at + mine) * m, m, M), tl.zeros([M], tl.float32)
        begin, end = _bounds(starts, table, i, n)
        for s in range(begin, end):
            edge, step, other, count = _span(spans, s)
            for done in range(0, tl.where(edge < e, count, 0), C):
                j = done + tl.arange(0, C)
                live = j < count
                places = k * e + edge + j * step
                h, pull = _rows(edges, places, live, d, D), _rows(d_new, places, live, d, D)
                x = tl.dot(h, tl.trans(w), input_precision=PRECISION) + own[None, :]
                x += _rows(ends, 2 * (k * n + other + j) + 1 - mine, live, m, M)
                hidden = _act(x, ACTIVATION)
                if WITH:
                    new = h + tl.dot(hidden, tl.trans(w_2), input_precision=PRECISION) + b[None, :]
                    even, scale = _normalised(new, d, EPS, D)
                    d_g += tl.sum(pull * even, 0)
                    d_s += tl.sum(pull, 0)
                    pull *= _vector(gain, pack * d, d, D)[None, :]
                    level, lean = tl.sum(pull, 1)[:, None] / d, tl.sum(pull * even, 1)[:, None] / d
                    # Edges that are not there have no gradient: their pull, and so level and lean, are zero.
                    pull = tl.where(depths[None, :] < d, scale * (pull - level - even * lean), 0.0)
                d_x = tl.dot(pull, w_2, input_precision=PRECISION) * _slope(x, ACTIVATION)
                d_own += tl.sum(d_x, 0)
                if WHOLE:
                    d_h = pull + tl.dot(d_x, w, input_precision=PRECISION)
                    _set_rows(d_edges, places, live, d, d_h, D)
                    d_w += tl.dot(tl.trans(d_x), h, input_precision=PRECISION)
                    d_w_2 += tl.dot(tl.trans(pull), hidden, input_precision=PRECISION)
                    d_b += tl.sum(pull, 0)
        tl.store(d_ends + (2 * at + mine) * m + units, d_own, mask=units < m)
    if WHOLE:
        which = pack * tl.num_programs(0) + program
        _set_matrix(d_first, which, d_w, m, d, M, D)
        _set_matrix(d_second, which, d_w_2, d, m, D, M)
        tl.store(d_bias + which * d + depths, d_b, mask=depths < d)
        if WITH:
            tl.store(d_gain + which * d + depths, d_g, mask=depths < d)
            tl.store(d_shift + which * d + depths, d_s, mask=depths < d)
