# An image with the command mdm-tune and the extra "hf", made from this folder.
#
#   docker build --tag mdm-tune .
#   docker build --tag mdm-tune:cuda --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" mdm-tune search configs/text.yaml
#
# BASE is an image of Debian or Ubuntu. Its Python is used if it has one, else that of the distribution; it must be 3.11
# or newer. On Linux, torch comes with CUDA libraries of several gigabytes. An image for a CPU does not need them: give
# --build-arg EXTRA_INDEX= the address of torch's CPU wheels that the install page of PyTorch shows.
ARG BASE=python:3.11-slim
FROM ${BASE}

ARG EXTRAS=hf
ARG EXTRA_INDEX=

# libseccomp confines generated programs. Versions are those of the base image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libseccomp2 \
    && if ! command -v python3 >/dev/null; then \
        apt-get install --yes --no-install-recommends python3 python3-venv; \
    fi \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mdm-tune
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY mdm_tune mdm_tune
RUN python3 -m venv /opt/venv \
    && PIP_EXTRA_INDEX_URL="${EXTRA_INDEX}" /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt \
        ".[${EXTRAS}]"

# Any user may run it: what models are downloaded and what libraries keep goes to a folder that all can write.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["mdm-tune"]
CMD ["--help"]
