# One image, started several times with different commands. Debian, not Alpine: Bytewax's wheels are built for glibc.
# tests/release/test_image.py carries the first stage out without Docker. A digest would pin the base image for good; it
# is left to whoever builds for a registry of their own, and Dependabot moves the tag.

FROM python:3.11.14-slim-bookworm AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Without pip: what is installed here is installed for good.
RUN python -m venv --without-pip /opt/plimsoll
# The dependencies first: they change seldom, and their layer is kept as long as the lock is.
COPY requirements.lock /src/
RUN pip --python /opt/plimsoll install --require-hashes --only-binary :all: -r /src/requirements.lock
COPY . /src
# This builds the web pages too; Node comes as a wheel, and stays in this stage.
RUN pip wheel --no-deps --wheel-dir /wheel /src && pip --python /opt/plimsoll install --no-deps /wheel/plimsoll-*.whl

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="Plimsoll" \
      org.opencontainers.image.description="Live portfolio risk for wealth advisors and risk desks." \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin plimsoll \
    # A named volume takes its owner from the folder it is mounted on.
    && install -d -o plimsoll -g plimsoll /var/lib/plimsoll /var/lib/plimsoll/recovery \
    && python -m pip uninstall --yes --root-user-action ignore pip setuptools wheel
COPY --from=builder /opt/plimsoll /opt/plimsoll
ENV PATH=/opt/plimsoll/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/plimsoll
EXPOSE 6066
# For the API; whoever runs another command says what its health is.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6066/live', timeout=2)"]
CMD ["plimsoll", "--help"]
