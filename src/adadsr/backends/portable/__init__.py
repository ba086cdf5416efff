"""The portable engine in plain torch: any network that has a definition, on any device, also in half precision.

engine     a prepared network: parts on a device, and head and adapter by their definitions
gather     the body: gather the active positions, multiply, scatter back
tail       a tail as one conv
footprint  memory per pixel
"""
