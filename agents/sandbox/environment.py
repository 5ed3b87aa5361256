"""The environment that every process but the `llm` agent gets: what programs need to run, and nothing secret.

It is a list of what may pass, since nobody can list what may not: a key may have any name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

NAMES = frozenset(
    [
        *"PATH HOME USER LOGNAME SHELL TERM TMPDIR TZ LANG LANGUAGE".split(),  # what every program may look at
        *"LD_LIBRARY_PATH XDG_CACHE_HOME".split(),  # where rented machines keep CUDA, and where kernels are cached
        *"PYTHONHASHSEED PYTHONUTF8 PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED".split(),
        *"SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE".split(),  # a company's own certificates
        # Where the hub's files lie and whether it may be asked; HF_TOKEN is a key, and stays out.
        *"HF_HOME HF_HUB_CACHE HF_HUB_OFFLINE HF_DATASETS_CACHE HF_DATASETS_OFFLINE HF_ENDPOINT".split(),
        *"TRANSFORMERS_CACHE TRANSFORMERS_OFFLINE".split(),
    ]
)
# Languages; GPUs and their libraries; threads of numeric libraries. They choose devices and speed.
PREFIXES = tuple("LC_ CUDA NVIDIA_ NCCL_ HIP_ ROCR_ HSA_ OMP_ MKL_ OPENBLAS_ TORCH PYTORCH_ TRITON_".split())
# What a prefix lets in may still be a key: NVIDIA_API_KEY is one.
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|JWT", re.IGNORECASE)
SIGNED_IN = re.compile(r"://[^/\s]*@")  # an address with a name or a password in it
# Not here, on purpose: http_proxy and its kin, which carry passwords and would take what is sent somewhere else.


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what is not known to be harmless, and with `extra`, unchecked."""
    return {name: value for name, value in os.environ.items() if _harmless(name, value)} | dict(extra or {})


def _harmless(name: str, value: str) -> bool:
    known = name in NAMES or name.startswith(PREFIXES)
    return known and not SECRET.search(name) and not SIGNED_IN.search(value)
