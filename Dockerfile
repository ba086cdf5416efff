# The service without torch. Build: docker build -t adadsr . ; run: docker compose up
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY native native
COPY src src
RUN python -m venv /opt/adadsr \
 && ADADSR_REQUIRE_NATIVE=1 /opt/adadsr/bin/pip install --no-cache-dir --no-compile --constraint constraints.txt '.[serve]' \
 && /opt/adadsr/bin/pip uninstall -y pip

FROM python:3.12-slim
COPY --from=build /opt/adadsr /opt/adadsr
RUN useradd --system --uid 10001 adadsr
ENV PATH=/opt/adadsr/bin:$PATH ADADSR_CACHE_DIR=/tmp/adadsr PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
ENTRYPOINT ["adadsr", "serve", "--host", "0.0.0.0"]
