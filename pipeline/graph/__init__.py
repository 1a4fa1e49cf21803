"""Neural graphs: built from a template or any module; blocks; nodes and edges; symmetries; drawing."""

from pipeline.graph.build import from_template
from pipeline.graph.from_module import from_module
from pipeline.graph.neural_graph import EdgeBlock, Link, NeuralGraph, NodeGroup

__all__ = ["EdgeBlock", "Link", "NeuralGraph", "NodeGroup", "from_module", "from_template"]
