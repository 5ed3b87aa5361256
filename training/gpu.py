"""Read the GPUs of this machine through NVML; a machine without one is a normal state, not an error."""

from typing import Any


def gpus() -> list[dict[str, Any]]:
    """Return {name, memory_bytes, driver} per GPU, in NVML's order; an empty list without GPU, driver or pynvml."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [
            {
                "name": _text(pynvml.nvmlDeviceGetName(handle)),
                "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                "driver": driver,
            }
            for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    """Return NVML's text; older bindings give bytes."""
    return value.decode() if isinstance(value, bytes) else value
