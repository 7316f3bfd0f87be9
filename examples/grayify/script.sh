#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes a grey copy of the picture under the same name: with ImageMagick where there is one, else with Pillow.
set -eu
output="$TMP_OUTPUT_DIR/${INPUT_FILE_PATH##*/}"

# Other programs are called "convert" too, so the version decides, not the name.
is_imagemagick() {
    "$1" -version 2>/dev/null | grep -q '^Version: ImageMagick'
}

if is_imagemagick magick; then
    tool=magick
elif is_imagemagick convert; then
    tool=convert
else
    tool=Pillow
fi

echo "Making ${INPUT_FILE_PATH##*/} grey with $tool"
if [ "$tool" != Pillow ]; then
    exec "$tool" "$INPUT_FILE_PATH" -colorspace Gray "$output"
fi
exec python3 - "$INPUT_FILE_PATH" "$output" <<'PY'
import sys

from PIL import Image

source, target = sys.argv[1:]
with Image.open(source) as picture:
    picture.convert("L").save(target, format=picture.format)
PY
