"""Networks as ONNX files of standard operators, which run at any size and budget in other runtimes.

exporting     a model -> a checked file
site          a model -> a page that upscales in the browser;  web_runtime: what runs it there
network       the whole graph;  pieces: the same in three, for images in tiles
framing       image -> frame;  restoring: features -> image
calibration   budget and loss -> depth map;  pricing: depth map -> share of the cost
body          the body at the positions that a depth map needs;  active: which those are
tiles         those of one depth per tile, winograd: convs there;  pixels: those of one depth per pixel
nodes, ops    graphs as Python expressions
verifying     the file in its runtimes against the package
quantising    dense files with convs in int8

Needs the extra `export`.
"""

from adadsr.errors import MissingDependencyError

try:
    import onnx as onnx
except ImportError as missing:
    raise MissingDependencyError("export needs the package onnx; pip install 'adadsr[export]'") from missing

from adadsr.export.exporting import Exported, export
from adadsr.export.network import Form, to_onnx
from adadsr.export.quantising import Int8
from adadsr.export.site import Site, export_site
from adadsr.export.verifying import RUNTIMES, Difference, verify

__all__ = ["RUNTIMES", "Difference", "Exported", "Form", "Int8", "Site", "export", "export_site", "to_onnx", "verify"]
