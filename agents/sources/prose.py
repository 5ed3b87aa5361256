"""Turn lines of a docstring into one clean line of prose, or into one clean piece of code."""

from __future__ import annotations

import inspect
import re

DIRECTIVE = re.compile(r"\.\. +([\w-]+)::\s*(.*)")
SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)(?<!cf\.)(?<!\b[A-Z]\.)\s+(?=[A-Z`\"'(\[])"
)
MAX_EXAMPLE = 2_000  # characters of one code example; the longer ones are whole programs


def folded(lines: list[str]) -> str:
    """Return lines of prose as one clean line; code, directives and tables inside them are left out."""
    kept, skip = [], -1
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if skip >= 0 and (indent > skip or not line.strip()):
            continue
        skip = -1
        stripped = line.strip()
        if DIRECTIVE.match(stripped) or re.fullmatch(r"(Examples?|Usage)\s*::?", stripped):
            skip = indent
        elif not stripped.startswith((">>>", "...", "```")) and not re.fullmatch(r"[-=+|~^ ]{4,}", stripped):
            kept.append(stripped)
        if stripped.endswith("::") and not DIRECTIVE.match(stripped):
            skip = indent
    text = clean(" ".join(kept))
    return text if re.search(r"\w", text) else ""


def clean(text: str) -> str:
    """Return prose without reST and Hugging Face markup, whitespace folded.

    >>> clean("see :func:`~torch.cuda.synchronize` and ``x``")
    'see `torch.cuda.synchronize` and `x`'
    """
    text = re.sub(r"</?(?:Tip|tip)[^>]*>", "", text)
    text = re.sub(r":[a-zA-Z:+-]+:`([^`<]*?)\s*<[^`>]*>`", r"`\1`", text)
    text = re.sub(r":(?:math|sub|sup):`([^`]*)`", r"`\1`", text)
    text = re.sub(r":[a-zA-Z][a-zA-Z:+-]*:`[~!.]*([^`]*)`", r"`\1`", text)
    text = re.sub(r"\[`~?([^`\]]+)`\](?:\([^)\s]*\))?", r"`\1`", text)
    text = re.sub(r"\[([^\]\[`]+)\]\((?:https?://|/|\.)[^)\s]*\)", r"\1", text)
    text = re.sub(r"`([^`<>]+?)\s*<(?:https?://|#)[^`>]*>`_{1,2}", r"\1", text)
    text = re.sub(r"``+([^`]+?)``+", r"`\1`", text)
    text = re.sub(r"`([^`]+)`_{1,2}", r"\1", text)
    text = re.sub(r"(?<![\w*])\*{1,2}(?=[^\s*])([^*`]+?)(?<=[^\s*])\*{1,2}(?![\w*])", r"\1", text)
    return re.sub(r"\s+", " ", text.replace("::", ":") if text.rstrip().endswith("::") else text).strip()


def first_sentence(text: str) -> tuple[str, str]:
    """Return the first sentence of a paragraph and the rest; a full stop inside backticks ends nothing."""
    for match in SENTENCE_END.finditer(text):
        if text[: match.start()].count("`") % 2 == 0:
            return text[: match.start()], text[match.end() :]
    return text, ""


def code_of(lines: list[str]) -> str:
    """Return the code among these lines without fences and directives; empty if too long or if there is none."""
    rows = []
    for row in inspect.cleandoc("\n".join(lines)).splitlines():
        if row.strip().startswith("```") or DIRECTIVE.match(row.strip()) or "xdoctest" in row:
            continue
        rows.append(row.rstrip())
    code = inspect.cleandoc("\n".join(rows)).strip("\n").replace("```", "")
    return code if len(code) <= MAX_EXAMPLE and looks_like_code([f"    {row}" for row in code.splitlines()]) else ""


def looks_like_code(block: list[str]) -> bool:
    """Say whether an indented block is code and not prose: calls, assignments or statements on most of its lines."""
    rows = [row for row in block if row.strip()]
    code = [
        row
        for row in rows
        if re.search(r"\w\(|[\w\])] = |^\s*(import|from|def|class|for|with|#|\$|@|try:|if .*:$)", row)
    ]
    return len(code) * 2 >= len(rows)
