"""Triton kernels of the operations on all edges of a block; `operations` says what they are, `triton_launch` runs them.

A program takes rows (of all intents, one after the other) and walks over their columns, C at a time, with the hidden
layer [C, M] in registers. Sizes d and m are padded to D and M; what is padded reads as zero.
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
def _tile(edges, start, along, j, c, d, D: tl.constexpr):
    """Embeddings [C, D] of the edges to columns j, zero beyond c."""
    at = tl.arange(0, D)[None, :]
    places = start + j[:, None].to(tl.int64) * along + at
    return tl.load(edges + places, mask=(j[:, None] < c) & (at < d), other=0.0)


@triton.jit
def _set_tile(edges, start, along, j, c, d, value, D: tl.constexpr):
    at = tl.arange(0, D)[None, :]
    tl.store(edges + start + j[:, None].to(tl.int64) * along + at, value, mask=(j[:, None] < c) & (at < d))


@triton.jit
def _before(h, first, r, column, k, j, c, m, M: tl.constexpr, PRECISION: tl.constexpr):
    """The first layer before its activation [C, M]."""
    at = tl.arange(0, M)[None, :]
    q = tl.load(column + (k * c + j[:, None]) * m + at, mask=(j[:, None] < c) & (at < m), other=0.0)
    return tl.dot(h, tl.trans(first), input_precision=PRECISION) + r[None, :] + q


@triton.jit
def gather(
    edges, row, column, first, score, values, total, peak,
    n, c, d, m, per_pack, e_k, e_n, e_c,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WITH: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64)
    k, i = at // n, at % n
    w = _matrix(first, k // per_pack, m, d, M, D)
    v = _vector(score, k // per_pack * m, m, M)
    r = _vector(row, at * m, m, M)
    sums, sum_w, top = tl.zeros([M], tl.float32), tl.zeros([1], tl.float32), tl.full([1], float("-inf"), tl.float32)
    for begin in range(0, c, C):
        j = begin + tl.arange(0, C)
        h = _tile(edges, k * e_k + i * e_n, e_c, j, c, d, D)
        hidden = _act(_before(h, w, r, column, k, j, c, m, M, PRECISION), ACTIVATION)
        if WITH:
            logits = tl.where(j < c, tl.sum(hidden * v[None, :], 1), float("-inf"))
            higher = tl.maximum(top, tl.max(logits, 0))
            shrink, each = tl.exp(top - higher), tl.exp(logits - higher)
            sums = sums * shrink + tl.sum(hidden * each[:, None], 0)
            sum_w = sum_w * shrink + tl.sum(each, 0)
            top = higher
        else:
            sums += tl.sum(tl.where(j[:, None] < c, hidden, 0.0), 0)
    units = tl.arange(0, M)
    tl.store(values + at * m + units, sums, mask=units < m)
    if WITH:
        one = tl.arange(0, 1)
        tl.store(total + at + one, sum_w)
        tl.store(peak + at + one, top)


@triton.jit
def gather_back(
    edges, row, column, first, score, d_values, d_total, peak, d_edges, d_row, d_first, d_score,
    n, c, d, m, per_pack, e_k, e_n, e_c, o_k, o_n, o_c,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WITH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """WHOLE: rows are receivers, and all gradients are taken but the column's. Else rows are senders: theirs alone."""
    program, pack = tl.program_id(0), tl.program_id(1).to(tl.int64)
    units = tl.arange(0, M)
    w = _matrix(first, pack, m, d, M, D)
    v = _vector(score, pack * m, m, M)
    d_w, d_v = tl.zeros([M, D], tl.float32), tl.zeros([M], tl.float32)
    for place in range(program, per_pack * n, tl.num_programs(0)):
        at = pack * per_pack * n + place
        k, i = at // n, at % n
        r = _vector(row, at * m, m, M)
        d_r = tl.zeros([M], tl.float32)
        for begin in range(0, c, C):
            j = begin + tl.arange(0, C)
            live = j < c
            h = _tile(edges, k * e_k + i * e_n, e_c, j, c, d, D)
            x = _before(h, w, r, column, k, j, c, m, M, PRECISION)
            receivers = at + 0 * j if WHOLE else k * c + j
            pull = tl.load(
                d_values + receivers[:, None] * m + units[None, :], mask=live[:, None] & (units < m)[None, :], other=0.0
            )
            if WITH:
                hidden = _act(x, ACTIVATION)
                gone = tl.sum(hidden * v[None, :], 1) - tl.load(peak + receivers, mask=live, other=0.0)
                each = tl.exp(tl.where(live, gone, float("-inf")))
                d_logits = each * (tl.sum(hidden * pull, 1) + tl.load(d_total + receivers, mask=live, other=0.0))
                d_x = (each[:, None] * pull + d_logits[:, None] * v[None, :]) * _slope(x, ACTIVATION)
            else:
                d_x = pull * _slope(x, ACTIVATION)
            d_r += tl.sum(d_x, 0)
            if WHOLE:
                d_h = tl.dot(d_x, w, input_precision=PRECISION)
                _set_tile(d_edges, k * o_k + i * o_n, o_c, j, c, d, d_h, D)
                d_w += tl.dot(tl.trans(d_x), h, input_precision=PRECISION)
                if WITH:
                    d_v += tl.sum(hidden * d_logits[:, None], 0)
        tl.store(d_row + at * m + units, d_r, mask=units < m)
    if WHOLE:
        which = pack * tl.num_programs(0) + program
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
    edges, row, column, first, second, bias, gain, shift, out,
    n, c, d, m, per_pack, e_k, e_n, e_c, o_k, o_n, o_c,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WITH: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64)
    k, i = at // n, at % n
    pack = k // per_pack
    w, w_2 = _matrix(first, pack, m, d, M, D), _matrix(second, pack, d, m, D, M)
    b = _vector(bias, pack * d, d, D)
    r = _vector(row, at * m, m, M)
    for begin in range(0, c, C):
        j = begin + tl.arange(0, C)
        h = _tile(edges, k * e_k + i * e_n, e_c, j, c, d, D)
        hidden = _act(_before(h, w, r, column, k, j, c, m, M, PRECISION), ACTIVATION)
        new = h + tl.dot(hidden, tl.trans(w_2), input_precision=PRECISION) + b[None, :]
        if WITH:
            even, _ = _normalised(new, d, EPS, D)
            new = even * _vector(gain, pack * d, d, D)[None, :] + _vector(shift, pack * d, d, D)[None, :]
        _set_tile(out, k * o_k + i * o_n, o_c, j, c, d, new, D)


@triton.jit
def renew_back(
    edges, row, column, first, second, bias, gain, d_new, d_edges, d_row, d_first, d_second, d_bias, d_gain, d_shift,
    n, c, d, m, per_pack, e_k, e_n, e_c, p_k, p_n, p_c, o_k, o_n, o_c,
    C: tl.constexpr, D: tl.constexpr, M: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    WITH: tl.constexpr, EPS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """WHOLE: all gradients are taken but the column's. Else the row's alone."""
    program, pack = tl.program_id(0), tl.program_id(1).to(tl.int64)
    units, depths = tl.arange(0, M), tl.arange(0, D)
    w, w_2 = _matrix(first, pack, m, d, M, D), _matrix(second, pack, d, m, D, M)
    b = _vector(bias, pack * d, d, D)
    d_w, d_w_2 = tl.zeros([M, D], tl.float32), tl.zeros([D, M], tl.float32)
    d_b, d_g, d_s = tl.zeros([D], tl.float32), tl.zeros([D], tl.float32), tl.zeros([D], tl.float32)
    for place in range(program, per_pack * n, tl.num_programs(0)):
        at = pack * per_pack * n + place
        k, i = at // n, at % n
        r = _vector(row, at * m, m, M)
        d_r = tl.zeros([M], tl.float32)
        for begin in range(0, c, C):
            j = begin + tl.arange(0, C)
            h = _tile(edges, k * e_k + i * e_n, e_c, j, c, d, D)
            pull = _tile(d_new, k * p_k + i * p_n, p_c, j, c, d, D)
            x = _before(h, w, r, column, k, j, c, m, M, PRECISION)
            hidden = _act(x, ACTIVATION)
            if WITH:
                new = h + tl.dot(hidden, tl.trans(w_2), input_precision=PRECISION) + b[None, :]
                even, scale = _normalised(new, d, EPS, D)
                d_g += tl.sum(pull * even, 0)
                d_s += tl.sum(pull, 0)
                pull *= _vector(gain, pack * d, d, D)[None, :]
                level, lean = tl.sum(pull, 1)[:, None] / d, tl.sum(pull * even, 1)[:, None] / d
                # Columns beyond c have no gradient: their pull, and so level and lean, are zero.
                pull = tl.where(depths[None, :] < d, scale * (pull - level - even * lean), 0.0)
            d_x = tl.dot(pull, w_2, input_precision=PRECISION) * _slope(x, ACTIVATION)
            d_r += tl.sum(d_x, 0)
            if WHOLE:
                d_h = pull + tl.dot(d_x, w, input_precision=PRECISION)
                _set_tile(d_edges, k * o_k + i * o_n, o_c, j, c, d, d_h, D)
                d_w += tl.dot(tl.trans(d_x), h, input_precision=PRECISION)
                d_w_2 += tl.dot(tl.trans(pull), hidden, input_precision=PRECISION)
                d_b += tl.sum(pull, 0)
        tl.store(d_row + at * m + units, d_r, mask=units < m)
    if WHOLE:
        which = pack * tl.num_programs(0) + program
        _set_matrix(d_first, which, d_w, m, d, M, D)
        _set_matrix(d_second, which, d_w_2, d, m, D, M)
        tl.store(d_bias + which * d + depths, d_b, mask=depths < d)
        if WITH:
            tl.store(d_gain + which * d + depths, d_g, mask=depths < d)
            tl.store(d_shift + which * d + depths, d_s, mask=depths < d)
