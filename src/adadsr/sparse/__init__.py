"""The sparse body: gates and active sets of a depth map, and the backends that run only the active positions."""
