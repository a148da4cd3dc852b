#!/usr/bin/env bash
# Everything here at once: packages, types, bundles made by edgecd, tests, and that the page which
# edgecd carries is the one that this source builds. Needs node 20 and edgecd[dev].
set -euo pipefail
cd "$(dirname "$0")"

npm ci --ignore-scripts --no-audit --no-fund
npm run check
bundles=$(mktemp -d)
trap 'rm -rf "$bundles"' EXIT
(cd ../.. && python export/web/test/make_bundles.py "$bundles")
EDGECD_WEB_BUNDLES=$bundles npm test
npm run build
git -C ../.. diff --exit-code -- edgecd/serve/page \
  || { echo "edgecd/serve/page is not what export/web builds: commit it" >&2; exit 1; }
(cd ../examples/transformers-js && npm ci --ignore-scripts --no-audit --no-fund)
cd ../.. && python -m pytest tests/contract/test_examples.py
