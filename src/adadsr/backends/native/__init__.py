"""The native CPU engine: convs compiled from native/src, at lists of tiles and pixels. numpy in, numpy out.

engine          a network prepared: head, adapter, body and tail together
packing         the weights as the kernels read them, and what the engine cannot run
body            which positions each conv of a body runs at, and by which algorithm
tail            the tail, some rows at a time
tail_folding    the last two convs of a tail as one
gradients       convs whose weights change, forwards and backwards, for training
workspaces      memory that is reused
tile_threshold  number of active pixels above which a tile runs whole

native/DESIGN.md explains the kernels. Without the extension only `missing` may be used.
"""


def missing() -> str | None:
    """Why the engine cannot run here; None if it can."""
    try:
        from adadsr.backends.native import _native  # noqa: F401
    except ImportError as error:
        return f"its extension is missing ({error}); install a C++17 compiler and reinstall adadsr from source"
    return None
