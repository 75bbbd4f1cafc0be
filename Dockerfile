# The one image: `vmcp operator` and `vmcp serve`. Any Debian-based image with Python 3.11 or later is a base.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
# Where pip finds packages on this network; pip's own variables, so that none of it is written anywhere.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG EXTRAS=otel,redis
WORKDIR /build
RUN python -m venv --without-pip /opt/vmcp
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Of the sources only what names the version: a change of the others leaves the layer of the dependencies as it is.
COPY operator/vmcp/__init__.py operator/vmcp/
ARG PIP="python -m pip --python /opt/vmcp/bin/python install --no-cache-dir --no-compile --disable-pip-version-check"
RUN ${PIP} --constraint constraints.txt ".[${EXTRAS}]"
# The root is read-only at run time, so what is imported is compiled now. The models of Kubernetes are 1,900 files,
# imported one by one where needed, which is next to never.
ARG COMPILE="/opt/vmcp/bin/python -m compileall -q --invalidation-mode unchecked-hash"
RUN ${COMPILE} -x '/kubernetes/(aio/)?client/(api|models)/' /opt/vmcp/lib
COPY operator operator
RUN ${PIP} --no-deps --force-reinstall . && ${COMPILE} /opt/vmcp/lib/python3*/site-packages/vmcp
COPY dev/vmcp_dev/sbom.py ./
RUN mkdir -p /opt/vmcp/share/sbom && /opt/vmcp/bin/python sbom.py vmcp-operator > /opt/vmcp/share/sbom/vmcp-operator.cdx.json

FROM ${BASE_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vmcp-operator" \
      org.opencontainers.image.description="Keeps a fleet of MCP servers usable: operator and gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Nothing installs packages in a container that runs.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip \
        /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/site-packages/setuptools* \
        /usr/bin/pip* /usr/lib/python3*/ensurepip /usr/lib/python3/dist-packages/pip* \
        /usr/lib/python3/dist-packages/setuptools* /usr/lib/python3/dist-packages/wheel* /usr/share/python-wheels
COPY --from=build /opt/vmcp /opt/vmcp
ENV PATH=/opt/vmcp/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["vmcp"]
