"""What TensorFlow says, without what only TensorFlow knows."""

from __future__ import annotations

import re

_NODE_NAMES = re.compile(
    r"\s*\[\[(?:\{\{[^{}]*\}\}\s*)+\S*?\]\]"  # [[{{function_node f}}{{node map/slice}}]]
    r"|\s*\[\[(?:Stateful)?PartitionedCall[^\[\]]*\]\]"
    r"|\s*\{\{(?:function_node|node)\b[^{}]*\}\}"
    r"|\s*\[Op:[^\[\]]*\](?: name:.*)?"
    r"|Graph execution error:\s*"
    r"|Detected at node .*?<stack traces unavailable>\s*"
    r"|\A\d+ root error\(s\) found\.\s*\(0\) |\n\s*\(1\).*",
    re.DOTALL,
)


def without_node_names(message: str) -> str:
    """TensorFlow's message without the names of nodes and functions of its graph, which tell a caller nothing."""
    cleaned = _NODE_NAMES.sub("", message)
    return message if cleaned == message else cleaned.strip()
