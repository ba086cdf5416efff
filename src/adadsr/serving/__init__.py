"""`adadsr serve`: an HTTP API and a page, with one engine, one queue and one memory limit. Needs the extra `serve`.

settings  what the service can be told
server    the process: sockets and signals
connections  patience with clients
app       the ASGI application
guard     what stands before every request: host, origin, key, size
routes    the HTTP API
image_routes  that of uploaded images
page      the static files of `adadsr.web`
asked     what requests may ask for
answers   the JSON of answers
examples  what the OpenAPI document says, with examples
problems  refusals as problem documents
uploads   bodies as files
results   results on their way to clients
calls     requests that clients may leave
service   what is done with requests, apart from HTTP
models    the networks that are offered
queue     whose turn it is, and at which budget
pace      multiply-accumulates to seconds
demand    how deep pictures want to go
kept      pictures that a page uploaded
work      what runs in a thread
metrics   for Prometheus
"""

from adadsr.serving.app import create_app
from adadsr.serving.server import serve, share_one_heap
from adadsr.serving.settings import Settings, read_keys

__all__ = ["Settings", "create_app", "read_keys", "serve", "share_one_heap"]
