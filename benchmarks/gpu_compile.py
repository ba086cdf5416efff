"""The Triton engine's convs compiled for an NVIDIA H100 or H200 (sm_90), without one: what they take, what they use.

`python benchmarks/gpu_compile.py [--channels 64 256] [--types float16 float32] [--kinds ...] [--first-way]`. For each
kind of conv and way to cut it: registers of a thread, bytes of its stack (what does not fit in registers), shared
memory of a program, and how often instructions of the tensor cores and asynchronous copies occur. Nothing is run. The
last line is JSON.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from adadsr.sparse.triton_choice import ways
from adadsr.sparse.triton_kernels import NUMBERS, conv_kernel
from adadsr.sparse.triton_launch import Blocking, Weights

TARGET = GPUTarget("cuda", 90, 32)
ALIGNED = [["tt.divisibility", 16]]
"""torch's memory starts at multiples of 16 bytes."""
POINTERS = {"bias": "fp32", "depth": "fp32", "sums": "fp32", "listed": "i32", "counts": "i32"}
TYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
KINDS = {
    "first conv of tiles": {"SIDE": 4, "RELU": True, "GATED": True, "CLEAR": True},
    "second conv of tiles": {"SIDE": 4, "GATED": True, "ADD": True},
    "first conv of pixels": {"SIDE": 1, "RELU": True},
    "second conv of pixels": {"SIDE": 1, "GATED": True, "ADD": True},
    "second conv with attention": {"SIDE": 4, "GATED": True, "SUMS": True},
}


def constants(channels: int, kind: str, way: Blocking) -> dict[str, object]:
    """The compile-time arguments of `conv_kernel`."""
    flags = dict.fromkeys(("RELU", "GATED", "ADD", "SUMS", "CLEAR", "WIDEN"), False) | {"LISTED": True} | KINDS[kind]
    return flags | {
        "IN": channels,
        "OUT": channels,
        "PRECISION": "tf32",
        "CACHE": ".ca" if way.cached else "",
        "ROWS": way.rows,
        "WIDTH": min(way.width, channels),
        "DEPTH": min(way.depth, channels),
    }


def compile_conv(dtype: str, channels: int, kind: str, way: Blocking) -> dict[str, object]:
    """One row."""
    fixed, names = constants(channels, kind, way), conv_kernel.arg_names
    signature = {
        name: "constexpr" if name in fixed else "i32" if name in NUMBERS else f"*{POINTERS.get(name, TYPES[dtype])}"
        for name in names
    }
    aligned = {(place,): ALIGNED for place, name in enumerate(names) if signature[name].startswith("*")}
    options = {"num_warps": way.warps, "num_stages": way.stages}
    kernel = triton.compile(ASTSource(conv_kernel, signature, fixed, aligned), target=TARGET, options=options)
    text = kernel.asm["ptx"]
    return {
        "type": dtype,
        "channels": channels,
        "kind": kind,
        "way": way._asdict(),
        "shared": kernel.metadata.shared,
        "tensor_core_instructions": len(re.findall(r"wgmma\.mma_async|\bmma\.sync", text)),
        "wgmma": text.count("wgmma.mma_async"),
        "asynchronous_copies": len(re.findall(r"cp\.async\.c[ag]", text)),
        **resources(kernel.asm["cubin"]),
    }


def resources(cubin: bytes) -> dict[str, int]:
    """Registers of a thread and bytes of its stack, as cuobjdump tells them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(value) for value in re.findall(r"(?:REG|STACK):(\d+)", text))
    return {"registers": registers, "stack": stack}


def main() -> None:
    """Compile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--types", nargs="+", choices=TYPES, default=["float16", "float32"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--first-way", action="store_true", help="compile only the first way to cut each conv")
    arguments = parser.parse_args()
    rows = []
    for dtype in arguments.types:
        for channels in arguments.channels:
            shape = torch.empty(channels, channels, 3, 3, dtype=getattr(torch, dtype), device="meta")
            candidates = ways(Weights(shape, torch.empty(channels, device="meta")))
            for kind in arguments.kinds:
                for way in candidates[:1] if arguments.first_way else candidates:
                    rows.append(compile_conv(dtype, channels, kind, way))
                    print(" ".join(f"{value}" for value in rows[-1].values()), flush=True)
    print(json.dumps({"triton": triton.__version__, "target": "sm_90", "rows": rows}))


if __name__ == "__main__":
    main()
