#!/usr/bin/env bash
# The Dockerfile's steps without a container engine: install without torch, run as another user, answer a request.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
MOST_MEGABYTES=270 # with the 130 of python:3.12-slim an image of 400
place=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$place"' EXIT
chmod 755 "$place"
"$PYTHON" -m venv "$place/adadsr"
ADADSR_REQUIRE_NATIVE=1 "$place/adadsr/bin/pip" install --quiet --no-compile --constraint constraints.txt '.[serve]'
"$place/adadsr/bin/pip" uninstall --quiet --yes pip
megabytes=$(du -sm "$place/adadsr" | cut -f1)
echo "installed: $megabytes MB"
[ "$megabytes" -le "$MOST_MEGABYTES" ]
[ ! -e "$place"/adadsr/lib/python3*/site-packages/torch ]
cp assets/photo.png "$place"
chmod 644 "$place/photo.png"
cat >"$place/run.py" <<'PY'
import os, sys

NOBODY = 65534


def become_nobody():
    os.setgid(NOBODY)
    os.setuid(NOBODY)


if os.getuid() == 0:
    child = os.fork()
    if not child:
        become_nobody()
        os._exit(not os.access(os.path.realpath(sys.executable), os.X_OK))
    if os.waitpid(child, 0)[1]:
        print("this Python is root's only, so the service runs as root here", file=sys.stderr)
    else:
        become_nobody()
os.environ.update(ADADSR_CACHE_DIR="/nonexistent", HOME="/nonexistent", PYTHONDONTWRITEBYTECODE="1")
for name in ("PYTHONPATH", "PYTHONHOME"):
    os.environ.pop(name, None)
os.execv(sys.argv[1], sys.argv[1:])
PY
touch "$place/log"
"$place/adadsr/bin/python" "$place/run.py" "$place/adadsr/bin/adadsr" serve --port 0 2>"$place/log" &
for _ in $(seq 100); do
  address=$(sed -n 's/^adadsr: serving at //p' "$place/log")
  [ -n "$address" ] && break
  sleep 0.2
done
cat "$place/log"
curl -sSf "$address/readyz"
curl -sSf -F "image=@$place/photo.png" "$address/v1/upscale?budget=0.2" -o "$place/large.png"
curl -sSf "$address/" -o "$place/index.html"
kill %1
wait %1
echo "served, and ended on SIGTERM"
