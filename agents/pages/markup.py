"""A page as one HTML file: no script, nothing fetched, light and dark, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from agents.pages.page import Block, Chart, Pair, Paragraph, Points, Section, Table, plain, shorten

# Even if an escape were forgotten: nothing may run, load, submit or frame.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
TONES = {"better": "better", "worse": "worse", "cannot tell": "unsure"}
STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1c2126; --soft: #5b6570; --rule: #dde1e5;
  --panel: #f3f4f2; --base: #98a1ab; --specialist: #2b6cb0; --better: #24795a; --worse: #b4442c; --unsure: #7d8690; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e4e7ea; --soft: #9aa4ae; --rule: #30363d;
  --panel: #1d2126; --base: #6b7580; --specialist: #6ba7e8; --better: #58b98f; --worse: #e5826b; --unsure: #8b949e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 58rem; padding: 2.5rem 1.25rem 5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--rule); }
p, ul, ol { max-width: 44rem; }
li { margin: .4rem 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--ink); }
th, td { padding: .4rem .9rem .4rem 0; vertical-align: top; overflow-wrap: anywhere; }
td { border-bottom: 1px solid var(--rule); }
.figure { text-align: right; white-space: nowrap; }
td.better, td.worse, td.unsure { font-weight: 600; white-space: nowrap; }
td.better { color: var(--better); } td.worse { color: var(--worse); } td.unsure { color: var(--unsure); }
figure { margin: 1.25rem 0; }
figcaption { color: var(--soft); font-size: .88rem; max-width: 44rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); } svg .small { font-size: 11px; fill: var(--soft); } svg .bold { font-weight: 600; }
svg .grid { stroke: var(--rule); } svg .zero, svg .whisker { stroke: var(--ink); }
svg .faint { fill: none; stroke: var(--specialist); opacity: .3; }
svg .strong { fill: none; stroke: var(--specialist); stroke-width: 2; stroke-linejoin: round; }
svg .base { fill: var(--base); } svg .specialist { fill: var(--specialist); }
svg .better { fill: var(--better); } svg .worse { fill: var(--worse); } svg .unsure { fill: var(--unsure); }
.pair { margin: 1.25rem 0; padding: .9rem 1rem; background: var(--panel); border-radius: 6px; }
.pair p { margin: 0 0 .6rem; }
.tag { color: var(--soft); font-size: .85rem; margin-right: .5rem; }
.said { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .75rem; }
.said h3 { margin: 0 0 .2rem; font-size: .82rem; font-weight: 500; color: var(--soft); }
.said pre { margin: 0; font: .85rem/1.45 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
"""


def html(title: str, sections: Sequence[Section]) -> str:
    """The whole page as one self-contained HTML document."""
    body = "".join(f"<h2>{say(s.title)}</h2>\n{''.join(block_html(block) for block in s.blocks)}" for s in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{say(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{say(title)}</h1>\n{body}</body>\n</html>\n"
    )


def say(text: str) -> str:
    return escape(plain(text))


def block_html(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{say(text)}</p>\n"
        case Points(items, numbered):
            tag = "ol" if numbered else "ul"
            return f"<{tag}>{''.join(f'<li>{say(item)}</li>' for item in items)}</{tag}>\n"
        case Table():
            return table_html(block)
        case Chart(svg, says):
            return f"<figure>{svg}<figcaption>{say(says)}</figcaption></figure>\n"
        case Pair():
            return pair_html(block)


def table_html(table: Table) -> str:
    head = "".join(f"<th{attribute(table, n, '')}>{say(cell)}</th>" for n, cell in enumerate(table.head))
    rows = [
        "".join(f"<td{attribute(table, n, cell)}>{say(cell)}</td>" for n, cell in enumerate(row)) for row in table.rows
    ]
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'


def attribute(table: Table, column: int, cell: str) -> str:
    name = "figure" if column in table.figures else TONES.get(cell, "")
    return f' class="{name}"' if name else ""


def pair_html(pair: Pair) -> str:
    said = ""
    for who, text, score in [("wanted", pair.reference, ""), *pair.answers]:
        head = f"{who} · {score}" if score else who
        said += f"<div><h3>{say(head)}</h3><pre>{say(shorten(text)) or '(nothing)'}</pre></div>"
    asked = f'<p><span class="tag">{say(pair.label)}</span>{say(pair.question)}</p>'
    return f'<div class="pair">{asked}<div class="said">{said}</div></div>\n'
