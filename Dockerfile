# CPUs:  docker build -t lagsearch-cpu .
# GPUs:  docker build -t lagsearch-cuda \
#          --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 \
#          --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
# A base is a Debian or Ubuntu whose Python is 3.11 or later.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/lagsearch/bin:$PATH
RUN python3 -m venv /opt/lagsearch \
 && pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.6"

COPY . /src
RUN pip install --no-cache-dir /src

# a new cache takes any user: `docker run --user` gives files in /work their owner
ENV HOME=/home/lagsearch HF_HOME=/cache/huggingface LAGSEARCH_CACHE=/cache/lagsearch
RUN useradd --create-home --uid 10001 lagsearch \
 && install -d -m 1777 /cache /cache/huggingface /cache/lagsearch \
 && install -d -o lagsearch /work
VOLUME /cache
USER 10001
WORKDIR /work
ENTRYPOINT ["lagsearch"]
CMD ["--help"]
