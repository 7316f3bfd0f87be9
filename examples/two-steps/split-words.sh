#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First step: one word a line, in lower case.
set -eu
name=${INPUT_FILE_PATH##*/}
tr 'A-Z' 'a-z' < "$INPUT_FILE_PATH" | tr -cs "a-z'" '\n' | awk 'NF' > "$TMP_OUTPUT_DIR/${name%.txt}.words"
echo "$(wc -l < "$TMP_OUTPUT_DIR/${name%.txt}.words") words"
