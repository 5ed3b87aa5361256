"""Split a Markdown file into its YAML front matter and its body."""

from __future__ import annotations

import re
from typing import Any

FENCED = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)(.*)", re.DOTALL | re.MULTILINE)


class Malformed(Exception):
    """Front matter that cannot be read: `what is wrong; what to do`, in one line without the file's name."""


def divided(text: str) -> tuple[str, str]:
    """Return the front matter and the body; raises Malformed."""
    match = FENCED.match(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    if not match:
        raise Malformed("has no front matter; begin the file with a block between two --- lines")
    return match[1], match[2]


def mapping(matter: str) -> dict[str, Any]:
    """Return the front matter as a dict; refuses what a person cannot have meant: a key twice, or a YAML alias."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    line = key.start_mark.line + 2  # counted from 0, and after the first ---
                    raise Malformed(f"line {line}: {key.value}: is given twice; keep one of them")
                seen.add(key.value if isinstance(key.value, str) else id(key))
            return super().construct_mapping(node, deep)

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):  # a few lines of aliases can stand for gigabytes
                raise Malformed("uses a YAML alias (*name); write the value out")
            return super().compose_node(parent, index)

    try:
        values = yaml.load(matter, Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 2}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise Malformed(f"{line}the front matter is not YAML ({problem}); correct it") from None
    if not isinstance(values, dict):
        raise Malformed("the front matter holds no keys; write lines like `name: gpu-ops`")
    return values
