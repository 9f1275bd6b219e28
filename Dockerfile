# One image for every service; docker-compose.yml picks the command.
ARG PYTHON=python:3.12.11-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/ridgeline
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY ridgeline ridgeline
COPY collectors collectors
COPY streams streams
COPY advisor advisor
COPY dashboards dashboards
# The lock is a constraint, not a list: the embedded stack and the test tools stay out of the image.
RUN /opt/ridgeline/bin/pip install --no-cache-dir --disable-pip-version-check \
        --constraint requirements.lock ".[collectors,streams,advisor,dashboards]"

FROM ${PYTHON}
RUN groupadd --gid 10001 ridgeline \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin ridgeline
COPY --from=build /opt/ridgeline /opt/ridgeline
ENV PATH=/opt/ridgeline/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
ENTRYPOINT ["ridgeline"]
CMD ["--help"]
