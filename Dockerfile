# The image in which Kubeflow runs stages: Millrace with the drivers of S3, Google Cloud Storage and the Hugging Face Hub, all from
# the hashed lock, no compiler and no root in what runs.
#
#   docker build -t registry.example/millrace:0.1.0 .
#   docker build --build-arg ACCELERATOR=cuda12 -t registry.example/millrace:0.1.0-cuda12 .
#
# Then push it and compile with its digest: millrace compile --image registry.example/millrace@sha256:...
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/millrace
ENV PATH=/opt/millrace/bin:$PATH
# Dependencies change less often than code: their layer is built from the lock alone.
COPY requirements-cluster.lock /build/
RUN pip install --require-hashes -r /build/requirements-cluster.lock
# JAX's accelerator build is chosen here and not in the lock; the version is the lock's. cuda12 or tpu.
ARG ACCELERATOR=
RUN if [ -n "$ACCELERATOR" ]; then \
        pip install "jax[$ACCELERATOR]==$(python -c 'import importlib.metadata as m; print(m.version("jax"))')"; \
    fi
COPY pyproject.toml LICENSE README.md pipeline.yaml /build/
COPY components /build/components
COPY data /build/data
COPY model /build/model
COPY pipelines /build/pipelines
COPY src /build/src
RUN pip install --no-deps /build

FROM python:${PYTHON}-slim-bookworm
# Kubeflow's launcher runs as this user and writes below /gcs, /minio and /s3; work folders with checkpoints and copies
# of artifacts go to /var/cache/millrace: mount a volume there to keep them over a retry on another node.
RUN useradd --uid 10001 --create-home millrace \
    && mkdir -p /work /var/cache/millrace /gcs /minio /s3 \
    && chown millrace:millrace /work /var/cache/millrace /gcs /minio /s3
COPY --from=build /opt/millrace /opt/millrace
ENV PATH=/opt/millrace/bin:$PATH \
    XDG_CACHE_HOME=/var/cache/millrace \
    NUMBA_CACHE_DIR=/var/cache/millrace/numba \
    PYTHONHASHSEED=0 \
    PYTHONUTF8=1 \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /work
ENTRYPOINT ["millrace"]
CMD ["--help"]
