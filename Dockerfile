# Tollkeeper in a container: `docker build -t tollkeeper .`, then
# `docker run -p 8787:8787 -v tollkeeper:/data -e OPENAI_API_KEY tollkeeper`.
# The first key is on standard output (`docker logs`); `docker exec ... tollkeeper keys create` makes another.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The pinned packages first, with the driver for a PostgreSQL server: their layer is kept while only the sources change.
COPY requirements-postgres.lock requirements-build.lock ./
RUN python -m venv /opt/tollkeeper \
    && /opt/tollkeeper/bin/python -m pip install --require-hashes --requirement requirements-postgres.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --require-hashes --requirement requirements-build.lock
COPY . .
RUN /opt/build/bin/python -m pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/tollkeeper/bin/python -m pip install --no-index --no-deps /wheels/*.whl

FROM python:3.12-slim
RUN groupadd --gid 10001 tollkeeper \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin tollkeeper \
    && install --directory --owner=tollkeeper --group=tollkeeper --mode=0700 /data
COPY --from=build /opt/tollkeeper /opt/tollkeeper
# In a container its own address is the one to listen on; who reaches it is decided by what is published.
# The metrics stay on the container's loopback: TOLLKEEPER_SERVER__METRICS_HOST=0.0.0.0 opens them.
ENV PATH=/opt/tollkeeper/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TOLLKEEPER_SERVER__HOST=0.0.0.0 \
    TOLLKEEPER_SERVER__PORT=8787 \
    TOLLKEEPER_SERVER__DATA_DIR=/data
USER tollkeeper
WORKDIR /data
VOLUME /data
EXPOSE 8787
# Running requests get server.drain_s (25 s) to end: give `docker stop` 40 s or more.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['TOLLKEEPER_SERVER__PORT']}/health/live\", timeout=2)"]
ENTRYPOINT ["tollkeeper"]
CMD ["serve"]
