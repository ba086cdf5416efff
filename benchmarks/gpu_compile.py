"""The Triton engine's kernels compiled for an NVIDIA H100 or H200 (sm_90), without one: what they take, what they use.

`python benchmarks/gpu_compile.py [--channels 64 256] [--types float16 float32] [--kinds ...] [--first-config]`. For
each kind of conv and config: registers of a thread, bytes of its stack (what does not fit in registers), shared memory
of a program, and how often instructions of the tensor cores and asynchronous copies occur. Nothing is run. The last
line is JSON.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from adadsr.backends.gpu.kernels import UNSPECIALIZED, add_kernel, attention_kernel, conv_kernel, finish_kernel
from adadsr.backends.gpu.launch import ATTENTION_BLOCK, POINTWISE_BLOCK_M, ConvConfig, configs
from adadsr.graph import ConvWeights

TARGET = GPUTarget("cuda", 90, 32)
ALIGNED = [["tt.divisibility", 16]]
"""torch's memory starts at multiples of 16 bytes."""
FLOATS = ("bias", "depth_map", "sums", "scale", "squeeze", "squeeze_bias", "excite", "excite_bias")
POINTERS = dict.fromkeys(FLOATS, "fp32") | {"listed": "i32", "counts": "i32"}
INTEGERS = (*UNSPECIALIZED, "n_pixels", "n_sums")
TYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
KINDS = {
    "first conv of tiles": {"SIDE": 4, "RELU": True, "GATED": True, "CLEAR": True},
    "second conv of tiles": {"SIDE": 4, "GATED": True, "ADD": True},
    "first conv of pixels": {"SIDE": 1, "RELU": True},
    "second conv of pixels": {"SIDE": 1, "GATED": True, "ADD": True},
    "second conv with attention": {"SIDE": 4, "GATED": True, "SUMS": True},
    "second conv at full depth": {"SIDE": 4, "LISTED": False, "ADD": True},
}
FLAGS = ("RELU", "GATED", "ADD", "SUMS")


def compile_conv(dtype: str, channels: int, kind: str, config: ConvConfig) -> dict[str, Any]:
    """One row: `conv_kernel` for a kind of conv under one config."""
    fixed = dict.fromkeys((*FLAGS, "CLEAR", "UPCAST"), False) | {"LISTED": True} | KINDS[kind]
    fixed |= {"C_IN": channels, "C_OUT": channels, "PRECISION": "tf32", "CACHE": ".ca" if config.cached else ""}
    fixed |= {"BLOCK_M": config.block_m, "BLOCK_N": min(config.block_n, channels)}
    fixed |= {"BLOCK_K": min(config.block_k, channels)}
    built = compiled(conv_kernel, dtype, fixed, num_warps=config.num_warps, num_stages=config.num_stages)
    return {"kind": kind, "type": dtype, "channels": channels, "config": config._asdict()} | built


def compile_others(dtype: str, channels: int) -> list[dict[str, Any]]:
    """The rows of the kernels without a product."""
    shape = {"BLOCK_M": POINTWISE_BLOCK_M, "BLOCK_N": min(channels, 128)}
    finish = dict.fromkeys(FLAGS, False) | {"C_OUT": channels, "SIDE": 4, **shape}
    reduced = max(1, channels // 16)
    attention = {"C": channels, "R": reduced, "BLOCK_C": channels, "BLOCK_R": reduced}
    built = {
        "after a first dense conv": compiled(finish_kernel, dtype, finish | {"RELU": True, "GATED": True}),
        "after a second dense conv": compiled(finish_kernel, dtype, finish | {"GATED": True, "ADD": True}),
        "after one with attention": compiled(finish_kernel, dtype, finish | {"GATED": True, "SUMS": True}),
        "channel attention": compiled(attention_kernel, dtype, attention | {"BLOCK_SUMS": ATTENTION_BLOCK // channels}),
        "scaled addition": compiled(add_kernel, dtype, {"C": channels, "SIDE": 4, "LISTED": True, **shape}),
    }
    return [{"kind": kind, "type": dtype, "channels": channels, "config": None} | row for kind, row in built.items()]


def compiled(function: Any, dtype: str, fixed: dict[str, Any], **options: int) -> dict[str, Any]:
    """What came out of a kernel with these compile-time arguments."""
    signature = {
        name: "constexpr" if name in fixed else "i32" if name in INTEGERS else f"*{POINTERS.get(name, TYPES[dtype])}"
        for name in function.arg_names
    }
    aligned = {(index,): ALIGNED for index, name in enumerate(signature) if signature[name].startswith("*")}
    kernel = triton.compile(ASTSource(function, signature, fixed, aligned), target=TARGET, options=options)
    text = kernel.asm["ptx"]
    return {
        "shared": kernel.metadata.shared,
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
    parser.add_argument("--first-config", action="store_true", help="compile only the first config of each conv")
    arguments = parser.parse_args()
    rows = []
    for dtype in arguments.types:
        for channels in arguments.channels:
            shape = torch.empty(channels, channels, 3, 3, dtype=getattr(torch, dtype), device="meta")
            candidates = configs(ConvWeights(shape, torch.empty(channels, device="meta")))
            found = [
                compile_conv(dtype, channels, kind, config)
                for kind in arguments.kinds
                for config in (candidates[:1] if arguments.first_config else candidates)
            ]
            rows += [*found, *compile_others(dtype, channels)]
    for row in rows:
        sizes = "{block_m}x{block_n}x{block_k}, {num_warps} warps, {num_stages} stages"
        config = sizes.format(**row["config"]) if row["config"] else ""
        print(
            f"{row['kind']:27} {row['type']:8} {row['channels']:4} {config:33} {row['registers']:4} registers "
            f"{row['stack']:4} B stack {row['shared']:6} B shared {row['wgmma']:2} wgmma "
            f"{row['asynchronous_copies']:2} copies"
        )
    print(json.dumps({"triton": triton.__version__, "target": "sm_90", "rows": rows}))


if __name__ == "__main__":
    main()
