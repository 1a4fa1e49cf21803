"""Messages and edge updates (§4.3), of a block or a whole graph, without a hidden layer for every edge in memory."""

from pipeline.learners.message_passing.fused.function import gather, gather_all, graph_kernels, renew, renew_all

__all__ = ["gather", "gather_all", "graph_kernels", "renew", "renew_all"]
