# The worker: the merger's layer, torch, and what reads data. Built from the root of the repository:
#   buildah build -f functions/worker.Dockerfile -t dev.local/sapflow-worker:VERSION .
# TORCH=debian takes Debian's torch for CPUs; TORCH=pypi pip's choice, from PyPI or from the index that TORCH_INDEX
# names (PyPI's own wheels for x86-64 carry CUDA, several gigabytes of it).

FROM debian:trixie-slim AS packages
ARG PIP_INDEX_URL=
# What Debian does not have; what it needs, Debian has.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-pip
RUN python3 -m pip install --no-cache-dir --no-compile --no-deps --target /opt/python \
      'pyarrow>=18,<25' 'optuna>=5,<6' 'cmaes>=0.12,<1' 'grpcio>=1.60,<2' 'pillow>=11,<14' 'tokenizers>=0.21,<1' \
 && find /opt/python -type d '(' -name tests -o -name SelfTest -o -name include ')' -prune -exec rm -r {} + \
 && find /opt/python '(' -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' ')' -delete

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
 && find /usr/lib/python3 -type d -name tests -not -path '*/numpy/_core/*' -prune -exec rm -r {} +

# Data: scikit-learn's bundled sets, Parquet. For searches, what Optuna needs. And what `sapflow run` needs, so that a job can be run in this one
# container as it would be by functions of it.
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-aiohttp python3-alembic python3-colorlog python3-packaging \
      python3-rich python3-sklearn python3-sqlalchemy python3-tqdm python3-typing-extensions \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /usr/include \
 && find /usr/lib/python3 -type d -name tests -not -path '*/numpy/_core/*' -prune -exec rm -r {} +
COPY --from=packages /opt/python /opt/python

COPY sapflow /opt/sapflow/sapflow
COPY functions/sapflow_functions /opt/sapflow/sapflow_functions
ENV PYTHONPATH=/opt/sapflow:/opt/python PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp PORT=8080
# Compiled here, once: the root file system is read-only where this runs.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/sapflow /opt/python \
 && python3 -c 'import PIL.Image, optuna, pyarrow.parquet, tokenizers, sklearn.datasets as sets; assert sets.load_digits().data.shape == (1797, 64)' \
 && python3 -m sapflow version

USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "sapflow_functions.roles.worker"]
