# One image for every service; which tasks a container serves is its command (docker-compose.yml).
#   docker build -t beamstep .                              # CPU
#   docker build -t beamstep:gpu --build-arg RUNTIME=gpu .  # onnxruntime-gpu with its CUDA and cuDNN
#   docker build -t beamstep-gateway --target gateway .     # nginx, routing by gRPC service name
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS gateway
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nginx-light \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/gateway.conf /etc/nginx/nginx.conf
EXPOSE 50051
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]

FROM ${BASE} AS build
ARG RUNTIME=cpu
WORKDIR /build
RUN python -m venv /opt/beamstep
COPY pyproject.toml constraints.txt README.md ./
COPY beamstep beamstep
COPY serving serving
COPY training training
COPY export export
COPY benchmarks benchmarks
RUN case "${RUNTIME}" in cpu|gpu) ;; *) echo "RUNTIME: ${RUNTIME}; allowed: cpu, gpu" >&2; exit 2 ;; esac \
    && /opt/beamstep/bin/pip install --no-cache-dir --constraint constraints.txt ".[${RUNTIME}]" \
    && /opt/beamstep/bin/pip uninstall --yes --quiet pip setuptools

# Runs as nobody in particular and writes nothing but to /tmp: `docker run --read-only --tmpfs /tmp --cap-drop ALL` is enough.
FROM ${BASE} AS server
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin beamstep
COPY --from=build /opt/beamstep /opt/beamstep
COPY models /models
ENV PATH=/opt/beamstep/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 50051 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["python", "-m", "serving.health_check", "localhost:50051"]
ENTRYPOINT ["beamstep"]
CMD ["serve", "--models", "/models", "--prefer", "translation-en-de", "--host", "0.0.0.0", "--port", "50051", "--http-port", "8080"]
