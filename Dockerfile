# Two images from one file: `--target api` (no torch) and `--target worker` (CUDA comes with torch from PyPI; the host
# needs NVIDIA's driver and container toolkit 1.17.8 or newer). For a build that never changes, give the base by digest:
# `--build-arg PYTHON_IMAGE=python@sha256:...`.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# --- what both are built on ---------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/plumage/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PLUMAGE_DATA_DIR=/data
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin plumage \
    && install --directory --owner=plumage --group=plumage /data
WORKDIR /app

# --- virtual environments, made where pip is and copied to where it is not needed ------------------------------
FROM base AS build-api
RUN python -m venv /opt/plumage
COPY requirements-api.lock ./
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements-api.lock
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY jobs jobs
COPY uploads uploads
COPY service service
COPY cli cli
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

FROM base AS build-worker
ARG TORCH_VERSION=2.13.0
RUN python -m venv /opt/plumage
COPY requirements-worker.lock ./
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements-worker.lock \
    && pip install --no-cache-dir "torch==${TORCH_VERSION}"
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY checkpoints checkpoints
COPY jobs jobs
COPY uploads uploads
COPY worker worker
COPY cli cli
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

# --- the images -----------------------------------------------------------------------------------------------
FROM base AS api
COPY --from=build-api /opt/plumage /opt/plumage
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz/live', timeout=2)"]
ENTRYPOINT ["plumage"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HOME=/models/hub \
    HOME=/tmp \
    PLUMAGE_MODEL=/app/models/mini
RUN install --directory --owner=plumage --group=plumage /models
COPY --from=build-worker /opt/plumage /opt/plumage
COPY models/mini models/mini
USER 10001
STOPSIGNAL SIGTERM
# Loading full-size weights for the first time takes minutes.
HEALTHCHECK --interval=15s --timeout=10s --start-period=600s --retries=3 \
    CMD ["plumage", "worker", "--check"]
ENTRYPOINT ["plumage"]
CMD ["worker"]
