"""The precision that a device multiplies fastest."""

import torch


def fastest_precision(device: torch.device) -> str:
    """bfloat16 on CUDA devices and on processors with AMX, otherwise float32; a value of `recipe.PRECISIONS`."""
    if device.type == "cpu":
        return "bfloat16" if torch.cpu.get_capabilities().get("amx_bf16") else "float32"
    return "bfloat16" if device.type == "cuda" else "float32"
