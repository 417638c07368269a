# One image for the three services: docker run IMAGE -m catalog_service serve
FROM python:3.13-slim AS build

COPY requirements/service.lock requirements/service.lock
RUN python -m venv --without-pip /venv && \
    pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement requirements/service.lock

COPY deploy/ready /app/bin/ready
COPY service_chassis /app/service_chassis
COPY metering_client /app/metering_client
COPY catalog_service /app/catalog_service
COPY activity_service /app/activity_service
COPY metering_service /app/metering_service
# Readable by all, whatever the umask of whoever cloned. Here and not as COPY --chmod, which only BuildKit knows.
RUN chmod -R a+rX /app && chmod a+x /app/bin/ready && python -m compileall -q /app

FROM python:3.13-slim

ENV PATH=/venv/bin:/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin service
WORKDIR /app

COPY --from=build /venv /venv
COPY --from=build /app /app

USER 10001
ENTRYPOINT ["python"]
