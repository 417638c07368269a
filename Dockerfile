# One image for the three services: docker run IMAGE -m catalog_service serve
FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin service
WORKDIR /app

COPY requirements/service.lock requirements/service.lock
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    --require-hashes --requirement requirements/service.lock

COPY service_chassis service_chassis
COPY catalog_service catalog_service
COPY activity_service activity_service
COPY metering_service metering_service

USER 10001
ENTRYPOINT ["python"]
