"""Whether the Triton engine can run here."""

import os

import torch

LEAST_CAPABILITY = (8, 0)
"""The first NVIDIA devices whose tensor cores multiply bfloat16 and tf32."""


def missing(device: torch.device) -> str | None:
    """Why the Triton engine cannot run on a device, None where it can."""
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" and not interpreted:
        return "it runs on CUDA devices; TRITON_INTERPRET=1 runs it on the CPU, very slowly, for tests"
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"triton cannot be imported ({error}); pip install 'adadsr[gpu]'"
    if interpreted:
        return None
    if not torch.cuda.is_available():
        return "torch sees no CUDA device; install a CUDA build of torch and NVIDIA's driver"
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < LEAST_CAPABILITY:
        found, least = (".".join(map(str, each)) for each in (capability, LEAST_CAPABILITY))
        return f"it needs compute capability {least} or newer, and this device has {found}"
    return None
