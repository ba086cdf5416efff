"""The Triton engine: sparse convs on a GPU's tensor cores. Experimental: not timed on a device yet (README.md).

engine    a prepared network: head, adapter and tail as in the portable engine, the body in Triton
body      the packed body, the choice of blocks that run densely, and one run over a batch
lists     active positions for the convs, sorted on the device
launch    from tensors to kernels, and the configs that compete
kernels   the Triton kernels
autotune  benchmarks of configs on the device, and CUDA graphs
"""

import os

LEAST_CAPABILITY = (8, 0)
"""Compute capability of the first NVIDIA devices whose tensor cores multiply bfloat16 and tf32."""


def missing(device: str) -> str | None:
    """Why the engine cannot run on a device, by torch's name; None if it can. Needs torch."""
    import torch

    kind = torch.device(device).type
    interpreted = kind == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if kind != "cuda" and not interpreted:
        return "it needs a CUDA device (TRITON_INTERPRET=1 interprets it on the CPU, for tests)"
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
        return f"it needs compute capability {least} or newer; this device has {found}"
    return None
