# stroke-nets in a container: its wheel and the pinned packages of constraints.txt, no source tree.
#
#   docker build -t stroke-nets .                                             # CPU
#   docker build -t stroke-nets:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 \
#     --build-arg TORCH_INDEX=https://pypi.org/simple .                       # CUDA
#   docker run --rm --network none --user "$(id -u)" -v "$PWD:/data" \
#     stroke-nets predict /data/sub-1_T1w.nii.gz /data/predictions            # --gpus all for CUDA
#
# Needs no network once built. Nothing of a patient is copied in: see .dockerignore.
# stroke-nets.def is the same for Apptainer.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE} AS base

# The CUDA bases have no Python; python:*-slim has its own.
RUN command -v python3 || { apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*; }
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

FROM base AS wheel
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel /source \
    && cp /source/constraints.txt /wheel

FROM base
# PyTorch first, from the index of its CPU builds or from PyPI, whose builds bring CUDA with them.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir "$(grep '^torch==' /wheel/constraints.txt)" --index-url ${TORCH_INDEX} \
    && pip install --no-cache-dir --constraint /wheel/constraints.txt \
        "$(echo /wheel/*.whl)[dicom,fast,metaimage,train]" \
    && pip install --no-cache-dir --constraint /wheel/constraints.txt --no-deps pytorchcv

# A user without an account (--user UID) has no name and no home; PyTorch asks for both.
ENV PYTHONUNBUFFERED=1 HOME=/tmp LOGNAME=user MPLCONFIGDIR=/tmp/matplotlib
RUN stroke-nets predict --help > /dev/null  # all of the package is there
ENTRYPOINT ["stroke-nets"]
CMD ["--help"]
