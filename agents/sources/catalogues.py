"""Build error catalogues from what this machine has: errno, signals, NVML's return codes, torch's error classes."""

from __future__ import annotations

import ast
import errno
import os
import re
import signal
from typing import Any

from agents.sources import modules, syntax
from agents.sources.locate import module_spec

TITLES = {
    "errno": "Error numbers of the operating system (errno)",
    "signal": "Signals of the operating system",
    "nvml": "Return codes of NVML",
    "torch-errors": "Error classes of PyTorch",
}
TORCH_MODULES = [  # where torch's public error classes live; one that a build lacks is passed over
    "torch",
    "torch.cuda",
    "torch.distributed",
    "torch.distributed.checkpoint",
    "torch.distributed.elastic.agent.server",
    "torch.distributed.elastic.multiprocessing",
    "torch.distributed.elastic.multiprocessing.api",
    "torch.distributed.elastic.multiprocessing.errors",
    "torch.distributed.elastic.rendezvous",
    "torch.jit",
    "torch.linalg",
    "torch.multiprocessing",
    "torch.onnx.errors",
    "torch.package",
    "torch.utils.checkpoint",
]
NUMBERED = re.compile(
    r"_(L|LANE|LINK|INSTANCE|C|NVDEC_|NVJPG_|NVENC_|OFA_)\d+(_|$)"
)  # hundreds of rows, alike but for a number


def errors_markdown() -> str:
    """Return errno's names, numbers and texts, and the exceptions that Python raises for them."""
    names = sorted((getattr(errno, name), name) for name in dir(errno) if name.startswith("E"))
    rows = [f"- `{name}` ({number}): {os.strerror(number)}" for number, name in names]
    special: dict[str, list[str]] = {}
    for number, name in names:
        kind = type(OSError(number, "")).__name__
        if kind != "OSError":
            special.setdefault(kind, []).append(f"`{name}` ({number})")
    raised = [f"- `{kind}`: raised for {' and '.join(special[kind])}" for kind in sorted(special)]
    about = "Names and numbers from Python's `errno`, texts from the C library's `strerror`."
    return page("errno", about, ("errno", rows), ("Exceptions that Python raises for them", raised))


def signals_markdown() -> str:
    """Return the signals' names, numbers and texts, and what a process that one of them ended reports."""
    known = sorted(signal.Signals, key=lambda one: (one.value, one.name))
    named = [
        (one.name, one.value, signal.strsignal(one.value) or "") for one in known if not one.name.startswith("SIGRT")
    ]
    rows = [f"- `{name}` ({number}): {text}" for name, number, text in named if text]
    ends = [
        f"- `{name}`: exit status {128 + number} in a shell, `returncode` {-number} in `subprocess`"
        for name, number, _ in named
    ]
    about = "Names and numbers from Python's `signal`, texts from the C library's `strsignal`."
    return page("signal", about, ("signal", rows), ("Exit status of a process that a signal ended", ends))


def nvml_markdown() -> str:
    """Return NVML's return codes as the installed pynvml words them, its exceptions and its explained constants."""
    spec = module_spec("pynvml")
    if not spec or not spec.origin:
        raise modules.Unreadable("catalogue:nvml: pynvml is not installed; install nvidia-ml-py or leave it out")
    tree = syntax.parsed(spec.origin)
    if tree is None:
        raise modules.Unreadable("catalogue:nvml: pynvml cannot be parsed; install nvidia-ml-py again or leave it out")
    values, worded = integers(tree), table(tree, "_errcode_to_string")
    codes = sorted((value, name) for name, value in values.items() if name.startswith("NVML_ERROR_"))
    codes = [(0, "NVML_SUCCESS"), *codes] if "NVML_SUCCESS" in values else codes
    told = [f"- `{name}` ({value}): {worded[name]}" for value, name in codes if name in worded]
    silent = [f"- `{name}` ({value})" for value, name in codes if name not in worded]
    classes = [f"- `{class_name(name)}`: raised for `{name}` ({value})" for value, name in codes if value]
    remarks = syntax.comments(spec.origin)
    noted = [
        f"- `{name}` ({values[name]}): {modules.prose(remarks[name])}"
        for name in sorted(remarks, key=lambda name: (values.get(name, -1), name))
        if name in values and name.startswith("NVML_") and not NUMBERED.search(name) and len(remarks[name]) > 8
    ]
    return page(
        "nvml",
        "Codes and texts from the installed `pynvml`.",
        ("NVML return codes", told),
        ("Return codes without a text of their own", silent),
        ("Exceptions of pynvml", classes),
        ("Constants explained in pynvml", noted),
    )


def assigned(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """Return (name, value) of every plain assignment in a module, in classes too."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Assign))
    return [(node.targets[0].id, node.value) for node in nodes if isinstance(node.targets[0], ast.Name)]


def integers(tree: ast.Module) -> dict[str, int]:
    """Return the integer constants by name."""
    found = [(name, node.value) for name, node in assigned(tree) if isinstance(node, ast.Constant)]
    return {name: value for name, value in found if isinstance(value, int)}


def table(tree: ast.Module, name: str) -> dict[str, str]:
    """Return the dict of names to texts that is assigned to `name`; empty if there is none."""
    shown = next((node for key, node in assigned(tree) if key == name and isinstance(node, ast.Dict)), ast.Dict([], []))
    pairs = zip(shown.keys, shown.values, strict=True)
    return {k.id: str(v.value) for k, v in pairs if isinstance(k, ast.Name) and isinstance(v, ast.Constant)}


def class_name(code: str) -> str:
    """Return pynvml's exception for a return code.

    >>> class_name("NVML_ERROR_GPU_IS_LOST")
    'NVMLError_GpuIsLost'
    """
    return "NVMLError_" + "".join(word.capitalize() for word in code.removeprefix("NVML_ERROR_").split("_"))


def torch_markdown(found: dict[str, Any]) -> str:
    """Return torch's error classes from the reading process's answer."""
    about = "Public exception classes of the installed `torch`, with what each one is a kind of."
    pieces = [f"# {TITLES['torch-errors']}", about]
    for entry in found["objects"]:
        pieces += modules.object_pieces(entry, 2)
    return "\n\n".join(pieces) + "\n"


def page(name: str, about: str, *groups: tuple[str, list[str]]) -> str:
    """Return a catalogue as Markdown; a group without rows is left out."""
    pieces = [f"# {TITLES[name]}", about]
    for title, rows in groups:
        if rows:
            pieces += [f"## {title}", "\n".join(rows)]
    return "\n\n".join(pieces) + "\n"
