# The base of the images of the tests: the shared libraries that the built programs name, and Python. It is made on the
# machine that built them, so that the C library fits; no registry is asked. Another base works where its C library is
# new enough: docker build --build-arg BASE=python:3.11-slim-bookworm -f program.Dockerfile CONTEXT
FROM scratch
COPY . /
