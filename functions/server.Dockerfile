# The server: the merger's image, and what prepares raw rows of images and texts; no torch. Built from the root of the repository:
#   buildah build -f functions/server.Dockerfile -t dev.local/sapflow-server:VERSION .

FROM debian:trixie-slim AS packages
ARG PIP_INDEX_URL=
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-pip
RUN python3 -m pip install --no-cache-dir --no-compile --no-deps --only-binary :all: --target /opt/python \
      'grpcio>=1.60,<2' 'pillow>=11,<14' 'tokenizers>=0.21,<1' \
 && find /opt/python -type d -name tests -prune -exec rm -r {} + \
 && find /opt/python -name '*.pyi' -delete

FROM debian:trixie-slim
# The same in every image, so that a node keeps and pulls this layer once. Of numpy's tests numpy.testing needs a file.
RUN printf 'path-exclude /usr/share/%s/*\n' doc man info locale lintian >/etc/dpkg/dpkg.cfg.d/slim \
 && apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-fastapi python3-httptools python3-numpy \
      python3-pydantic python3-uvicorn python3-yaml \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /usr/include \
 && find /usr/lib/python3 -type d -name tests -not -path '*/numpy/_core/*' -prune -exec rm -r {} + \
 && find /usr/lib/python3/dist-packages/numpy/_core/tests -mindepth 1 -not -name _natype.py -not -name __init__.py -delete \
 && useradd --system --uid 65532 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sapflow

COPY --from=packages /opt/python /opt/python
COPY sapflow /opt/sapflow/sapflow
COPY functions/sapflow_functions /opt/sapflow/sapflow_functions
# Compiled here, once: the root file system is read-only where this runs.
RUN export PYTHONPATH=/opt/sapflow:/opt/python \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/sapflow /opt/python \
 && python3 -c 'import PIL.Image, tokenizers, sapflow.serving.opened, sapflow_functions.grpc_server'

ENV PYTHONPATH=/opt/sapflow:/opt/python PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp PORT=8080 OPENBLAS_NUM_THREADS=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "sapflow_functions.roles.server"]
