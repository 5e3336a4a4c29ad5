# The operator, the driver and the chart's hooks: no torch. Built from the root of the repository:
#   buildah build -f operator/operator.Dockerfile -t dev.local/sapflow-operator:VERSION .

FROM debian:trixie-slim AS packages
ARG PIP_INDEX_URL=
# What Debian does not have; what these need, it has, but for pycryptodome, which it has under another name.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-pip
RUN python3 -m pip install --no-cache-dir --no-compile --no-deps --target /opt/python \
      'kopf>=1.45,<2' 'minio>=7.2,<8' 'pycryptodome>=3.20,<4' 'optuna>=5,<6' 'cmaes>=0.12,<1' \
 && find /opt/python -type d '(' -name tests -o -name SelfTest ')' -prune -exec rm -r {} + \
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

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-aiohttp python3-argon2 python3-certifi python3-click \
      python3-iso8601 python3-jsonpatch python3-prometheus-client python3-pythonjsonlogger python3-typing-extensions \
      python3-urllib3 libjemalloc2 python3-alembic python3-colorlog python3-packaging python3-scipy python3-sqlalchemy \
      python3-tqdm \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /usr/include \
 && find /usr/lib/python3 -type d -name tests -not -path '*/numpy/_core/*' -prune -exec rm -r {} +
COPY --from=packages /opt/python /opt/python

COPY sapflow /opt/sapflow/sapflow
COPY operator/sapflow_operator /opt/sapflow/sapflow_operator
ENV PYTHONPATH=/opt/sapflow:/opt/python PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
# Compiled here, once: the root file system is read-only where this runs.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/sapflow /opt/python \
 && python3 -c 'import kopf, minio, aiohttp, numpy, optuna, prometheus_client, pydantic, yaml'

USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 9090
ENTRYPOINT ["python3", "-m", "sapflow_operator"]
