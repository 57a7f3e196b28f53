# Two stages: the first compiles a wheel and installs it into an environment of its own, the last has only what runs.
#
#   docker build -t fastmesh .
#   docker run -v ./mesh:/etc/fastmesh:ro -p 15001:15001 fastmesh
#   docker run -v ./mesh:/etc/fastmesh:ro -p 80:80 fastmesh proxy -f /etc/fastmesh --role gateway
FROM python:3.11-slim-bookworm AS builder
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY ext ext
COPY fastmesh fastmesh
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/fastmesh \
    && pip --python /opt/fastmesh install --no-cache-dir /wheels/*.whl

FROM python:3.11-slim-bookworm
# libssl3 is in the image: Python needs it, too.
# Istio's user: its interception rules let the traffic of this one pass.
RUN groupadd --gid 1337 fastmesh \
    && useradd --uid 1337 --gid 1337 --no-create-home --shell /usr/sbin/nologin fastmesh
COPY --from=builder /opt/fastmesh /opt/fastmesh
ENV PATH=/opt/fastmesh/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    FASTMESH_STATUS="0.0.0.0:15021 0.0.0.0:15090"
USER 1337:1337
# Traffic, health, metrics. The admin interface listens on loopback only.
EXPOSE 15001 15021 15090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:15021/healthz/ready', timeout=1)"]
ENTRYPOINT ["fastmesh"]
CMD ["proxy", "-f", "/etc/fastmesh", "--listen", "0.0.0.0:15001"]
