# The image holds Python, the locked run-time dependencies, and the service with its SQL. No compiler, no pip, no test
# or development package.
#
#   docker build -t task-service --build-arg COMMIT="$(git rev-parse HEAD)" .
#   docker run -p 4000:4000 -e DATABASE_URL=... -e JWT_SECRET=... task-service
#   docker run -e DATABASE_URL=... task-service python -m service migrate
#
# For builds that never change, pin the base in both stages: python:3.13-slim@sha256:DIGEST, with the digest that
# `docker buildx imagetools inspect python:3.13-slim` prints.

FROM python:3.13-slim AS build
COPY requirements/run.txt /build/
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r /build/run.txt
COPY service /app/service
COPY sql /app/sql
COPY migrations /app/migrations
COPY roles /app/roles
ARG COMMIT=unknown
RUN rm -r /app/service/dev && echo "$COMMIT" > /app/COMMIT && python -m compileall -q /app/service

FROM python:3.13-slim
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.13/site-packages/pip* /usr/local/lib/python3.13/ensurepip \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin service
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=4000
WORKDIR /app
USER 10001:10001
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-m", "service", "health"]
CMD ["python", "-m", "service", "serve"]
