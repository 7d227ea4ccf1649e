#!/usr/bin/env bash
# Your own posts to an assistant, step by step. Usage: runs/speedrun.sh SQUARE SOURCE [BASE]
# SOURCE is an X archive, X API v2 files, or a CSV, JSONL or Parquet file; BASE a Hugging Face folder or
# a GGUF file to continue from. Without BASE the model learns from your posts alone.
set -euo pipefail
export TOWNSQUARE_SQUARE=$1
source_path=$2
base=${3:-}

townsquare init "$TOWNSQUARE_SQUARE"
townsquare grant add --grantor "me" --grantee "me" --source '*' \
  --purpose train --purpose tune --purpose retrieve --purpose display
townsquare ingest "$source_path"
townsquare curate
townsquare tokens ${base:+--base "$base"}
if [ -n "$base" ]; then
  townsquare train --name chat --objective tune --base "$base"
else
  townsquare train --name base
  townsquare train --name chat --objective tune --start-from base
fi
townsquare export --run chat
townsquare index
townsquare evaluate chat
townsquare report
townsquare serve
