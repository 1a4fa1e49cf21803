"""Where the neurons of a tensor are after a change of shape: checked on tensors that hold their neurons' numbers."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.graph.streams import Stream

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def numbered(stream: Stream) -> Tensor:
    """A tensor of the stream's shape in which every number is its neuron's."""
    along = torch.arange(stream.size).repeat_interleave(stream.after).repeat(stream.before)
    view = [1] * len(stream.shape)
    view[stream.place] = -1
    return along.view(view).expand(stream.shape)


@given(SHAPES, st.data())
def test_reshaping_follows_the_neurons(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    stream = Stream(shape, "x", "group", axis)
    new = data.draw(st.permutations([d for d in range(1, 65) if math.prod(shape) % d == 0]))
    first = new[0]
    target = data.draw(st.sampled_from([(first, math.prod(shape) // first), (math.prod(shape),), (1, *shape, 1)]))
    moved = stream.reshaped(target)
    if moved is None:
        # Only where no axis of the target holds whole runs of neurons.
        assert target not in [(math.prod(shape),), (1, *shape, 1)]
    else:
        assert moved.size == stream.size
        assert torch.equal(numbered(moved), numbered(stream).reshape(target))


@given(SHAPES, st.data())
def test_followed_finds_the_axis_of_the_neurons(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    order = data.draw(st.permutations(range(len(shape))))
    stream = Stream(shape, "x", "group", axis)
    moved = stream.followed(lambda x: x.permute(order), tuple(shape[i] for i in order))
    assert moved is not None and moved.axis == order.index(axis)


def test_what_touches_the_neurons_is_not_followed() -> None:
    stream = Stream((2, 6, 3), "x", "group", 1)
    assert stream.followed(lambda x: x.mean(1), (2, 3)) is None
    assert stream.followed(lambda x: x[:, :4], (2, 4, 3)) is None
    assert stream.followed(lambda x: x[:, :, 0], (2, 6)) == Stream((2, 6), "x", "group", 1)
    assert stream.reshaped((2, 2, 3, 3)) is None
