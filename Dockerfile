# hsemotion with its default models, for use without a network:
#
#   docker build -t hsemotion .
#   docker run --rm --network none --user "$(id -u):$(id -g)" -v "$PWD:/data" hsemotion annotate talk.mp4
#
# Downloaded networks are looked for in /models: mount a folder there, and fill it with
#   docker run --rm -e HSEMOTION_OFFLINE=0 -v "$PWD/models:/models" hsemotion models download NAME
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY hsemotion_cli hsemotion_cli
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# What --detector mediapipe loads; everything else is in the wheels.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /tmp/
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /tmp/constraints.txt /wheels/*.whl \
    && rm /tmp/constraints.txt
# The user may be anybody (--user), so nothing depends on a home folder.
ENV HSEMOTION_OFFLINE=1 HSEMOTION_HOME=/models HOME=/tmp
RUN mkdir /models /data && chmod 777 /models /data
USER 1000:1000
RUN hsemotion doctor
WORKDIR /data
ENTRYPOINT ["hsemotion"]
CMD ["--help"]
