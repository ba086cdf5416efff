"""The native CPU engine: convs compiled from native/src, at lists of tiles and pixels. numpy in, numpy out.

engine           a network prepared: head, adapter, body and tail together
packing          the weights as the kernels read them, and what the engine cannot run
chain_packing    the same for bodies of chained convs
checks           what every conv has to be
body             which positions each conv of residual blocks runs at, and by which algorithm
chain_body       the same for the chains of ESRGAN and Compact
wavefront        convs that advance together
chain_tail       the tails of ESRGAN and Compact
nearest_folding  upsampling by nearest neighbour and the conv after it as one
gradients        convs whose weights change, forwards and backwards, for training
workspaces       memory that is reused
tile_threshold   number of active pixels above which a tile runs whole

native/DESIGN.md explains the kernels. Without the extension only `missing` may be used.
"""


def missing() -> str | None:
    """Why the engine cannot run here; None if it can."""
    try:
        from adadsr.backends.native import _native  # noqa: F401
    except ImportError as error:
        return f"its extension is missing ({error}); install a C++17 compiler and reinstall adadsr from source"
    return None
