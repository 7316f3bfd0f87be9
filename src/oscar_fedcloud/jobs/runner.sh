#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one Job: stage in, script, stage out, log. The same file under every launcher, in any image with a POSIX shell.
# Its input is the environment that environment.py describes, or files with it as arguments; no value is ever evaluated.
# It writes the lines phase= (stage_in, script, stage_out, stopped, done), exit= and reason= to $OSCAR_RESULT. Its exit
# code is the script's, or 120 staging failed, 121 input gone, 122 input not the event's any more, 143 stopped by a signal.
# Outputs are staged only after exit 0. Names in o_ are its own, so that it changes no variable of the user.
set -u

# Files of lines NAME=VALUE, each value escaped for printf %b. By way of env, since a shell cannot set just any name.
if [ "$#" -gt 0 ]; then
    o_files=$*
    set --
    for o_file in $o_files; do
        while IFS= read -r o_line; do
            o_value=$(printf '%b.' "${o_line#*=}")
            set -- "$@" "${o_line%%=*}=${o_value%.}"
        done <"$o_file"
    done
    exec env "$@" /bin/sh "$0"
fi

o_phase=stage_in o_child='' o_stopped='' o_code=0 o_keeper=''

# Bounded memory, whatever the size of files: 1 GiB passes through 256 MiB. Raw: names as they are, see rclone_path.
export RCLONE_CONFIG=/dev/null RCLONE_LOG_LEVEL=ERROR RCLONE_STATS=0 RCLONE_LOCAL_ENCODING=Raw RCLONE_COPY_LINKS=true \
    RCLONE_RETRIES=1 RCLONE_LOW_LEVEL_RETRIES=2 RCLONE_CONTIMEOUT=10s RCLONE_TIMEOUT=60s RCLONE_USE_MMAP=true \
    RCLONE_BUFFER_SIZE=4Mi RCLONE_TRANSFERS=2 RCLONE_CHECKERS=4 RCLONE_MULTI_THREAD_STREAMS=0 \
    RCLONE_S3_UPLOAD_CONCURRENCY=2 RCLONE_S3_NO_CHECK_BUCKET=true
[ ! -r "${OSCAR_CA_BUNDLE-}" ] || export RCLONE_CA_CERT="$OSCAR_CA_BUNDLE" # for images without one

say() { printf 'oscar: %s\n' "$1"; }

end() { # end CODE REASON
    trap '' TERM INT HUP
    say "$2"
    printf 'phase=%s\nexit=%s\nreason=%s\n' "$o_phase" "$1" "$2" >"$OSCAR_RESULT"
    exit "$1"
}

stop() {
    o_stopped=1
    kill -TERM "$o_child" 2>/dev/null || { o_phase=stopped && end 143 "stopped by a signal"; }
}

run() { # beside the shell, because a shell acts on signals only between commands and in wait
    "$@" </dev/null & o_child=$!
    while wait "$o_child"; o_code=$? && kill -0 "$o_child" 2>/dev/null; do :; done # a signal may end the wait alone
    o_child=''
    [ -z "$o_stopped" ] || { o_phase=stopped && end 143 "stopped by a signal"; }
    return "$o_code"
}

rclone() { exec env HOME="$o_root" GOMEMLIMIT=96MiB GOGC=200 "$OSCAR_RCLONE" "$@"; } # without HOME it starts getent

call() { run rclone "$@" >"$o_root/answer" 2>"$o_root/errors"; }

# Repeats a transfer until it works or $OSCAR_STAGING_TIMEOUT has passed; the script is never run again for it. What is
# refused is soon given up, but not at once: keys and buckets may be as new as the service. 3, 4: rclone's "not found".
transfer() {
    o_until=$(($(date +%s) + OSCAR_STAGING_TIMEOUT)) o_pause=1 o_refused=0
    until call "$@"; do
        cat "$o_root/errors"
        [ "$o_code" -ne 3 ] && [ "$o_code" -ne 4 ] || return "$o_code"
        grep -Eq 'StatusCode: 40[0-5],|permission denied|no such file' "$o_root/errors" && o_refused=$((o_refused + 1))
        [ "$o_refused" -lt 4 ] && [ "$(($(date +%s) + o_pause))" -lt "$o_until" ] || return 1
        say "a transfer failed, next try in $o_pause s"
        run sleep "$o_pause"
        o_pause=$((o_pause < 16 ? o_pause * 2 : 30))
    done
}

stage_in() {
    o_source=$OSCAR_INPUT_REMOTE:$OSCAR_INPUT_BUCKET/$OSCAR_INPUT_KEY
    fetch_at_once || fetch_after_a_look
    export INPUT_FILE_PATH="$TMP_INPUT_DIR/$OSCAR_INPUT_NAME"
    mv "$o_root/file" "$INPUT_FILE_PATH" || end 120 "the input file could not be placed"
}

# Nearly all files are what their events say, and each start of rclone costs time: one call fetches them, and no more
# than that size of anything else. It does not tell what is wrong, so whatever it does not fetch is looked up.
fetch_at_once() {
    [ -n "${OSCAR_INPUT_SIZE-}" ] || return 1
    [ "${#OSCAR_INPUT_ETAG}" -ne 32 ] || command -v md5sum >/dev/null || return 1
    call copyto --max-transfer "$((OSCAR_INPUT_SIZE + 1))B" "$o_source" "$o_root/file" &&
        [ -f "$o_root/file" ] && measure && size_is "$o_size" && md5_is "$o_md5"
}

# Asks first, because rclone copies nothing, with success, when a key is missing. JSON has no newline inside a string,
# so no file name can look like the lines that are read here.
fetch_after_a_look() {
    rm -rf "$o_root/file"
    transfer lsjson --stat --hash --hash-type md5 --use-server-modtime --no-mimetype "$o_source" ||
        [ "$o_code" -eq 3 ] || [ "$o_code" -eq 4 ] || end 120 "the input file could not be looked up"
    grep -q '^[[:space:]]*"IsDir": false' "$o_root/answer" || end 121 "the input file is not in the store any more"
    o_size=$(sed -n 's/^[[:space:]]*"Size": \([0-9][0-9]*\),*$/\1/p' "$o_root/answer")
    o_md5=$(sed -n 's/^[[:space:]]*"md5": "\([0-9a-f]\{32\}\)",*$/\1/p' "$o_root/answer")
    same
    transfer copyto "$o_source" "$o_root/file" || end 120 "the input file could not be fetched"
    [ -f "$o_root/file" ] || end 121 "the input file vanished while it was fetched"
    o_known=$o_md5
    measure
    [ -n "$o_known" ] || o_md5='' # the store's eTags may be something else
    same
}

measure() { # size and, where the image has md5sum, MD5 of what was fetched
    o_size=$(($(wc -c <"$o_root/file"))) o_md5=''
    ! command -v md5sum >/dev/null || o_md5=$(md5sum <"$o_root/file")
    o_md5=${o_md5%% *}
}

same() { # as in the event?
    size_is "$o_size" || end 122 "the input file has changed: it has $o_size bytes, not $OSCAR_INPUT_SIZE"
    md5_is "$o_md5" || end 122 "the input file has changed: its MD5 is not the event's"
}

size_is() { [ "${OSCAR_INPUT_SIZE:-$1}" = "$1" ]; }

md5_is() { # an eTag is a plain MD5, or it has a dash and says nothing of the content
    [ -z "$1" ] || [ "${#OSCAR_INPUT_ETAG}" -ne 32 ] || [ "$1" = "$OSCAR_INPUT_ETAG" ]
}

# Storage keys and what is the runner's own end here; a user's RCLONE_* variables come out of their wrapping (eval sees
# names of letters, digits and _ only). A shebang is followed as the kernel does, so a script in Python works; sh runs a
# script without one, or whose interpreter the image lacks.
script() {
    o_names='s/^\(RCLONE_[A-Za-z0-9_]*\)=.*/\1/p;s/^\(OSCAR_OUTPUT_[0-9]*_[A-Z]*\)=.*/\1/p'
    for o_name in $(env | sed -n "$o_names"); do unset "$o_name"; done
    for o_name in $(env | sed -n 's/^OSCAR_USER_\(RCLONE_[A-Za-z0-9_]*\)=.*/\1/p'); do
        eval "export $o_name=\"\${OSCAR_USER_$o_name-}\"; unset OSCAR_USER_$o_name"
    done
    o_script=$OSCAR_SCRIPT
    unset OSCAR_RCLONE OSCAR_SCRIPT OSCAR_RESULT OSCAR_STAGE_IN OSCAR_STAGING_TIMEOUT OSCAR_DEPTH OSCAR_OUTPUTS \
        OSCAR_INPUT_REMOTE OSCAR_INPUT_BUCKET OSCAR_INPUT_KEY OSCAR_INPUT_NAME OSCAR_INPUT_SIZE OSCAR_INPUT_ETAG \
        OSCAR_LOG_REMOTE OSCAR_LOG_PATH OSCAR_LOG_MAX OSCAR_RECORD OSCAR_CA_BUNDLE
    o_line=$(head -n 1 "$o_script")
    set -f # the words of a shebang are no patterns
    case $o_line in '#!'*) set -- ${o_line#??} ;; esac
    [ -x "${1-}" ] || set -- /bin/sh
    case $1 in */env) case ${2-} in -*) ;; *) command -v "${2-}" >/dev/null || set -- /bin/sh ;; esac ;; esac
    o_interpreter=$1 && shift
    exec "$o_interpreter" ${1:+"$*"} "$o_script" 3>&-
}

# --checksum: what is there already is not written again, so that a retry does not start the next service twice.
# --no-traverse: each output is looked up by itself, however many there are of earlier Jobs.
stage_out() {
    o_index=0 o_remote='' o_path='' o_filter=''
    while [ "$o_index" -lt "$OSCAR_OUTPUTS" ] && [ -n "$(ls -A "$TMP_OUTPUT_DIR")" ]; do
        eval "o_remote=\$OSCAR_OUTPUT_${o_index}_REMOTE o_path=\$OSCAR_OUTPUT_${o_index}_PATH"
        eval "o_filter=\$OSCAR_OUTPUT_${o_index}_FILTER"
        printf '%s\n' "$o_filter" >"$o_root/filter"
        transfer copy --checksum --no-traverse --filter-from "$o_root/filter" \
            --header-upload "x-amz-meta-oscar-depth: $OSCAR_DEPTH" "$TMP_OUTPUT_DIR" \
            "$o_remote:$o_path/" || end 120 "the output files could not be stored (output $o_index)"
        o_index=$((o_index + 1))
    done
}

# From now on what is written goes on to the launcher and into a file. A TERM to the whole Job leaves these two alone.
start_log() {
    mkfifo "$o_root/all" "$o_root/copy"
    (trap '' TERM INT HUP && exec tee "$o_root/copy" <"$o_root/all") & o_tee=$!
    (trap '' TERM INT HUP && keep <"$o_root/copy" >"$o_root/log") & o_keeper=$!
    exec 3>&1 >"$o_root/all" 2>&1
}

keep() { # the first and the last half of what a log may have
    o_half=$((OSCAR_LOG_MAX / 2))
    head -c "$o_half"
    tail -c "$o_half" >"$o_root/log.end"
    [ "$(($(wc -c <"$o_root/log")))" -lt "$o_half" ] || say "a log that exceeds $OSCAR_LOG_MAX bytes loses its middle"
    cat "$o_root/log.end"
}

store_log() { # and beside it, for a launcher that may lose sight of the Job, how it ended
    o_log=${OSCAR_LOG_PATH##*/}
    mkdir "$o_root/kept" && mv "$o_root/log" "$o_root/kept/$o_log"
    [ -z "${OSCAR_RECORD-}" ] || cp "$OSCAR_RESULT" "$o_root/kept/${o_log%.log}.result"
    (RCLONE_TIMEOUT=10s rclone copy --no-check-dest "$o_root/kept" "$OSCAR_LOG_REMOTE:${OSCAR_LOG_PATH%/*}/")
}

clean() {
    if [ -n "$o_keeper" ]; then
        exec >&3 2>&3
        (sleep 2 && kill -KILL "$o_tee") >/dev/null 2>&1 3>&- & # what a script leaves running may hold the pipe open
        wait "$o_tee" "$o_keeper"
        kill "$!" 2>/dev/null
        store_log || say "the log could not be stored"
    fi
    rm -rf "$o_root" 2>/dev/null || { chmod -R u+rwx "$o_root" && rm -rf "$o_root"; }
}

o_root=$(mktemp -d "${TMPDIR:-/tmp}/oscar.XXXXXX") || end 120 "no folder for temporary files in ${TMPDIR:-/tmp}"
export TMP_INPUT_DIR="$o_root/input" TMP_OUTPUT_DIR="$o_root/output"
trap clean EXIT && trap stop TERM INT HUP
mkdir "$TMP_INPUT_DIR" "$TMP_OUTPUT_DIR"
[ -z "$OSCAR_LOG_REMOTE" ] || start_log
[ "$OSCAR_STAGE_IN" != 1 ] || stage_in
o_phase=script
run script || end "$o_code" "the script ended with exit code $o_code"
o_phase=stage_out && stage_out
o_phase='done' && end 0 "done"
