#!/usr/bin/env bash
# The whole story in a few minutes on two cores: a synthetic community in, a cited answer out.
set -euo pipefail
townsquare demo --square "${1:-demo-square}"
