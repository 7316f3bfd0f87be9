#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Counts lines, words and bytes of a text and names its most frequent words. Needs nothing but sh, awk, sort and tr.
set -eu
name=${INPUT_FILE_PATH##*/}
output="$TMP_OUTPUT_DIR/${name%.txt}.stats"

# Below the counts, the words by frequency, then by alphabet; the same on every machine.
LC_ALL=C
export LC_ALL
{
    printf 'lines\t%d\n' "$(wc -l < "$INPUT_FILE_PATH")"
    printf 'words\t%d\n' "$(wc -w < "$INPUT_FILE_PATH")"
    printf 'bytes\t%d\n' "$(wc -c < "$INPUT_FILE_PATH")"
    tr 'A-Z' 'a-z' < "$INPUT_FILE_PATH" | tr -cs 'a-z' '\n' |
        awk 'NF { seen[$1]++ } END { for (word in seen) printf "%s\t%d\n", word, seen[word] }' |
        sort -k2,2nr -k1,1 | awk -v top="${TOP:-5}" 'NR <= top'
} > "$output"
cat "$output"
