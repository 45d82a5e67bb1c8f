# One image for the worker's flow runs; the command is given by the work pool (`prefect flow-run execute`) and is PID 1.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /src
COPY requirements.runtime.lock ./
RUN /opt/venv/bin/pip install --require-hashes --requirement requirements.runtime.lock
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY visibility visibility
COPY blocks blocks
COPY tasks tasks
COPY flows flows
COPY deployments deployments
COPY migrations migrations
RUN /opt/venv/bin/pip install "setuptools>=80" \
 && /opt/venv/bin/pip install --no-deps --no-build-isolation . \
 && /opt/venv/bin/pip uninstall --yes setuptools pip

FROM python:3.11-slim-bookworm
# openai 3 reads the system's certificates, which the slim base does not carry
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
# glibc keeps a heap per thread: two of them instead of sixteen save a shard with 100 orgs in flight 50 MB
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_LOGGING_LEVEL=INFO \
    DO_NOT_TRACK=1
WORKDIR /tmp
USER 10001:10001
CMD ["prefect", "flow-run", "execute"]
