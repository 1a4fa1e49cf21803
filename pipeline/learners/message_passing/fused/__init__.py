"""Messages and edge updates of dense blocks (§4.3) without a hidden layer for every edge in memory."""

from pipeline.learners.message_passing.fused.function import gather, renew

__all__ = ["gather", "renew"]
