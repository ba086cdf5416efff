"""Whether the compiled part of the native engine is there."""

import torch


def missing(device: torch.device) -> str | None:
    """Why the native engine cannot run on a device, None where it can."""
    if device.type != "cpu":
        return "it runs on the CPU only"
    try:
        from adadsr.sparse import _native  # noqa: F401
    except ImportError as error:
        return f"its extension was not built ({error}); get a C++17 compiler and install adadsr again from its source"
    return None
