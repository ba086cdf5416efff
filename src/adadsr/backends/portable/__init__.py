"""The portable engine in plain torch: any network that has a definition, on any device, also in half precision.

engine  a prepared network: parts on a device, and head, adapter and tail by their definitions
gather  the body: gather the active positions, multiply, scatter back
"""
