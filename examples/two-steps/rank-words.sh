#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Second step: how often each word occurs, the most frequent first.
set -eu
name=${INPUT_FILE_PATH##*/}
LC_ALL=C sort "$INPUT_FILE_PATH" | uniq -c | LC_ALL=C sort -k1,1nr -k2,2 |
    awk '{ printf "%s\t%d\n", $2, $1 }' > "$TMP_OUTPUT_DIR/${name%.words}.ranks"
head -n 3 "$TMP_OUTPUT_DIR/${name%.words}.ranks"
