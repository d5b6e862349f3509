# stroke-nets in a container: the command, the bundles and the pinned packages of constraints.txt.
#
#   docker build -t stroke-nets .                                             # CPU
#   docker build -t stroke-nets:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 \
#     --build-arg TORCH_INDEX=https://pypi.org/simple .                       # CUDA
#   docker run --rm --network none --user "$(id -u)" -v "$PWD:/data" \
#     stroke-nets predict /data/sub-1_T1w.nii.gz /data/predictions            # --gpus all for CUDA
#
# Needs no network once built. Nothing of a patient is copied in: see .dockerignore.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# The CUDA bases have no Python; python:*-slim has its own.
RUN command -v python3 || { apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*; }

WORKDIR /opt/stroke-nets
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp LOGNAME=user MPLCONFIGDIR=/tmp/matplotlib
COPY . .

# PyTorch first, from the index of its CPU builds or from PyPI, whose builds bring CUDA with them.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python3 -m venv /opt/venv \
    && pip install --no-cache-dir "$(grep '^torch==' constraints.txt)" --index-url ${TORCH_INDEX} \
    && pip install --no-cache-dir --constraint constraints.txt '.[fast,train]' \
    && pip install --no-cache-dir --constraint constraints.txt --no-deps pytorchcv

ENTRYPOINT ["stroke-nets"]
CMD ["--help"]
