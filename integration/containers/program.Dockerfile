# One program of the conformance tests, or the hypermesh command. The context holds it below opt/hypermesh/, beside
# `conformance`, which keeps the container there while programs are run in it.
ARG BASE=hypermesh-test-base
FROM ${BASE}
COPY . /
ENV ASAN_OPTIONS=exitcode=99 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["/opt/hypermesh/conformance", "hold"]
