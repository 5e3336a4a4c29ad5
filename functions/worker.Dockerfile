# The worker: the merger's layers, and torch. Built from the root of the repository:
#   buildah build -f functions/worker.Dockerfile -t dev.local/sapflow-worker:VERSION .
# TORCH=debian takes Debian's torch for CPUs; TORCH=pypi pip's choice, from PyPI or from the index that TORCH_INDEX
# names (PyPI's own wheels for x86-64 carry CUDA, several gigabytes of it).

FROM debian:trixie-slim
RUN printf 'path-exclude /usr/share/%s/*\n' doc man info locale lintian >/etc/dpkg/dpkg.cfg.d/slim \
 && apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-fastapi python3-httptools python3-numpy \
      python3-pydantic python3-uvicorn python3-yaml \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /usr/include \
 && find /usr/lib/python3 -type d -name tests -prune -exec rm -r {} + \
 && useradd --system --uid 65532 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sapflow

ARG TORCH=debian
ARG TORCH_INDEX=
# Without OpenBLAS Debian's torch multiplies matrices with the reference BLAS, many times slower.
RUN apt-get update \
 && case "$TORCH" in \
      debian) apt-get install -y --no-install-recommends libopenblas0-pthread python3-torch ;; \
      pypi) apt-get install -y --no-install-recommends python3-pip \
         && pip install --no-cache-dir --break-system-packages ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} 'torch>=2.3,<3' \
         && apt-get purge -y --auto-remove python3-pip ;; \
      *) echo "TORCH is debian or pypi, not $TORCH" >&2; exit 1 ;; \
    esac \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /usr/include \
      /usr/lib/libtorch-test /usr/lib/python3/dist-packages/torch/bin/*[Tt]est* \
 && find /usr/lib/python3 -type d -name tests -prune -exec rm -r {} +

COPY sapflow /opt/sapflow/sapflow
COPY functions/sapflow_functions /opt/sapflow/sapflow_functions
# Compiled here, once: the root file system is read-only where this runs.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/sapflow

ENV PYTHONPATH=/opt/sapflow PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp PORT=8080
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "sapflow_functions.worker"]
