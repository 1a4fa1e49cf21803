"""Message passing on a neural graph (§4.3): `passing` is the whole, `message` and `update` its parts, `fused` their
computation on the edges of large blocks."""

from pipeline.learners.message_passing.message import Message
from pipeline.learners.message_passing.passing import MessagePassing, Round

__all__ = ["Message", "MessagePassing", "Round"]
