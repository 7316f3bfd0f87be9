#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one Job: stage in, script, stage out, log. The same files under every launcher, in any image with a POSIX shell.
# Its input is the environment that environment.py describes, or files with it as arguments; no value is ever evaluated.
# Variables of the user are named OSCAR_USER_<name> here, so they act on the script alone (script.sh).
# $OSCAR_RESULT gets lines that launchers/result.py reads: phase= (stage_in, script, stage_out, stopped, done), exit=,
# reason=, summary=, outputs= (how many) and output= (those that fit). The exit code is the script's, or 120 staging
# failed, 121 input gone, 122 input not the event's any more, 143 stopped by a signal. Outputs are staged only after
# exit 0. The script may have removed or closed whatever it could reach: each step looks for what it needs.
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

o_phase=stage_in o_child='' o_stopped='' o_code=0 o_keeper='' o_summary='' o_home=${0%/*}

# Bounded memory, whatever the size of files: 1 GiB passes through 256 MiB. Raw: names as they are, see rclone_path.
# Sums are compared here, where it is known whether an eTag is one; stores check uploads by Content-MD5.
export RCLONE_CONFIG=/dev/null RCLONE_LOG_LEVEL=ERROR RCLONE_STATS=0 RCLONE_LOCAL_ENCODING=Raw RCLONE_COPY_LINKS=true \
    RCLONE_RETRIES=1 RCLONE_LOW_LEVEL_RETRIES=2 RCLONE_CONTIMEOUT=10s RCLONE_TIMEOUT=60s RCLONE_USE_MMAP=true \
    RCLONE_BUFFER_SIZE=4Mi RCLONE_TRANSFERS=2 RCLONE_CHECKERS=4 RCLONE_MULTI_THREAD_STREAMS=0 \
    RCLONE_S3_UPLOAD_CONCURRENCY=2 RCLONE_S3_NO_CHECK_BUCKET=true RCLONE_S3_UPLOAD_CUTOFF=200Mi \
    RCLONE_IGNORE_CHECKSUM=true
[ ! -r "${OSCAR_CA_BUNDLE-}" ] || export RCLONE_CA_CERT="$OSCAR_CA_BUNDLE" # for images without one

say() { printf 'oscar: %s\n' "$1"; }

end() { # end CODE REASON
    trap '' TERM INT HUP
    say "$2"
    repair
    rm -f "$o_own/reserve" "$o_own/room"
    tell "$1" "$2"
    exit "$1"
}

tell() { # at most 4 KiB, which is what a Pod may leave behind
    [ -f "$OSCAR_RESULT" ] || rm -rf "$OSCAR_RESULT"
    [ -d "${OSCAR_RESULT%/*}" ] || { rm -f "${OSCAR_RESULT%/*}" && mkdir -p "${OSCAR_RESULT%/*}"; }
    note_summary
    {
        printf 'phase=%s\nexit=%s\nreason=%s\n' "$o_phase" "$1" "$2"
        [ -z "$o_summary" ] || printf 'summary=%s\n' "$o_summary"
        [ ! -s "$o_own/stored" ] || list_stored
    } >"$OSCAR_RESULT"
}

list_stored() { # what does not fit is in a list of its own: see keep_list
    printf 'outputs=%s\n' "$(($(wc -l <"$o_own/stored")))"
    [ "$(($(wc -c <"$o_own/stored")))" -gt 2600 ] || { cat "$o_own/stored" && return; }
    head -c 2600 "$o_own/stored" | sed '$d'
    [ -n "${OSCAR_RECORD-}" ] || keep_list "$OSCAR_RESULT.outputs"
}

keep_list() {
    rm -rf "$1"
    head -n 10000 "$o_own/stored" >"$1"
}

repair() { # the runner's own folder, whatever became of it
    [ ! -w "$o_own" ] || [ ! -x "$o_own" ] || return 0
    mkdir -p "$o_own" 2>/dev/null
    chmod u+rwx "$o_tmp" "$o_own" 2>/dev/null
    mkdir -p "$o_own" 2>/dev/null
}

stop() {
    o_stopped=1
    [ -n "$o_child" ] && { kill -TERM "-$o_child" || kill -TERM "$o_child"; } 2>/dev/null ||
        { o_phase=stopped && end 143 "stopped by a signal"; }
}

run() { # beside the shell, because a shell acts on signals only between commands and in wait
    "$@" </dev/null & o_child=$!
    while wait "$o_child"; o_code=$? && kill -0 "$o_child" 2>/dev/null; do :; done # a signal may end the wait alone
    kill -KILL "-$o_child" 2>/dev/null # what the script left running in its group
    o_child=''
    [ -z "$o_stopped" ] || { o_phase=stopped && end 143 "stopped by a signal"; }
    return "$o_code"
}

rclone() { exec env HOME="$o_own" GOMEMLIMIT=96MiB GOGC=200 "$OSCAR_RCLONE" "$@"; } # without HOME it starts getent

at() { # at REMOTE PATH: sets o_at, with how the certificate of that store is checked
    eval "o_bundle=\${OSCAR_CA_$1-} o_unverified=\${OSCAR_UNVERIFIED_$1-}"
    o_at=$1${o_unverified:+,override.no_check_certificate=true}
    [ -z "$o_bundle" ] || o_at="$o_at,override.ca_cert=\"$o_bundle\""
    o_at=$o_at:$2
}

call() { run rclone "$@" >"$o_own/answer" 2>"$o_own/errors"; }

# transfer WHAT COMMAND: repeats a transfer until it works or $OSCAR_STAGING_TIMEOUT has passed; the script is never run
# again for it. What is refused is soon given up, but not at once: keys and buckets may be as new as the service. What
# lies in this machine is not repeated. 3, 4: rclone's "not found".
transfer() {
    o_what=$1 o_until=$(($(date +%s) + OSCAR_STAGING_TIMEOUT)) o_pause=1 o_refused=0
    shift
    until "$@"; do
        grep -v ' INFO  : ' "$o_own/errors"
        [ "$o_code" -ne 3 ] && [ "$o_code" -ne 4 ] || return "$o_code"
        ! has_no_room || end 120 "no space left in $o_tmp"
        ! grep -Eq 'failed to open source object|error reading source|Listing error' "$o_own/errors" || return 1
        grep -Eq 'StatusCode: 40[0-5],|permission denied|no such file' "$o_own/errors" && o_refused=$((o_refused + 1))
        [ "$o_refused" -lt 4 ] && [ "$(($(date +%s) + o_pause))" -lt "$o_until" ] || return 1
        progress "$o_what yet: tried again until $(clock "$o_until") UTC"
        run sleep "$o_pause"
        o_pause=$((o_pause < 16 ? o_pause * 2 : 30))
    done
    progress ''
}

progress() { # for the launcher, while the Job goes on: a file, or the last line of the log
    [ -z "$1" ] || say "$1"
    [ -n "${OSCAR_RECORD-}" ] || [ -z "$1${o_progress-}" ] || printf '%s' "$1" >"$OSCAR_RESULT.progress"
    o_progress=$1
}

clock() { printf '%02d:%02d:%02d' "$(($1 / 3600 % 24))" "$(($1 / 60 % 60))" "$(($1 % 60))"; }

has_no_room() {
    grep -Eq 'no space left|quota exceeded|remaining disk space' "$o_own/errors" 2>/dev/null ||
        ! printf '%16384s' '' 2>/dev/null >"$o_own/room"
}

why() { # the first thing that rclone complains about, in one line
    sed -n 's/^[^ ]* [^ ]* ERROR : //p' "$o_own/errors" | head -n 1 | tr '[:cntrl:]' ' ' | head -c 500
}

stage_in() {
    at "$OSCAR_INPUT_REMOTE" "$OSCAR_INPUT_BUCKET/$OSCAR_INPUT_KEY" && o_source=$o_at
    fetch_at_once || fetch_after_a_look
    export INPUT_FILE_PATH="$TMP_INPUT_DIR/$OSCAR_INPUT_NAME"
    mv "$o_own/file" "$INPUT_FILE_PATH" || end 120 "the input file could not be placed"
}

# Nearly all files are what their events say, and each start of rclone costs time: one call fetches them, and no more
# than that size of anything else. It does not tell what is wrong, so whatever it does not fetch is looked up.
fetch_at_once() {
    [ -n "${OSCAR_INPUT_SIZE-}" ] || return 1
    [ "${#OSCAR_INPUT_ETAG}" -ne 32 ] || command -v md5sum >/dev/null || return 1
    call copyto --max-transfer "$((OSCAR_INPUT_SIZE + 1))B" "$o_source" "$o_own/file" &&
        [ -f "$o_own/file" ] && measure && size_is "$o_size" && md5_is "$o_md5"
}

# Asks first, because rclone copies nothing, with success, when a key is missing. JSON has no newline inside a string,
# so no file name can look like the lines that are read here. The eTag of an encrypted object, for one, looks like an
# MD5 and is none: when the store still holds the event's eTag and two fetches agree, the file is the event's.
fetch_after_a_look() {
    o_first=$([ ! -f "$o_own/file" ] || { measure && printf %s "$o_md5"; })
    rm -rf "$o_own/file"
    transfer "the input file could not be looked up" \
        call lsjson --stat --hash --hash-type md5 --use-server-modtime --no-mimetype "$o_source" ||
        [ "$o_code" -eq 3 ] || [ "$o_code" -eq 4 ] || end 120 "the input file could not be looked up: $(why)"
    grep -q '^[[:space:]]*"IsDir": false' "$o_own/answer" || end 121 "the input file is not in the store any more"
    o_size=$(sed -n 's/^[[:space:]]*"Size": \([0-9][0-9]*\),*$/\1/p' "$o_own/answer")
    o_md5=$(sed -n 's/^[[:space:]]*"md5": "\([0-9a-f]\{32\}\)",*$/\1/p' "$o_own/answer")
    same
    fetch_again
    size_is "$o_size" || same
    md5_is "$o_md5" || [ "$o_md5" = "$o_first" ] || { o_first=$o_md5 && fetch_again; }
    md5_is "$o_md5" || [ "$o_md5" = "$o_first" ] || same
}

fetch_again() {
    transfer "the input file could not be fetched" call copyto "$o_source" "$o_own/file" ||
        end 120 "the input file could not be fetched: $(why)"
    [ -f "$o_own/file" ] || end 121 "the input file vanished while it was fetched"
    measure
}

measure() { # size and, where the image has md5sum, MD5 of what was fetched
    o_size=$(($(wc -c <"$o_own/file"))) o_md5=''
    ! command -v md5sum >/dev/null || o_md5=$(md5sum <"$o_own/file")
    o_md5=${o_md5%% *}
}

same() { # as in the event?
    size_is "$o_size" || end 122 "the input file has changed: it has $o_size bytes, not $OSCAR_INPUT_SIZE"
    md5_is "$o_md5" || end 122 "the input file has changed: its MD5 is not the event's"
}

size_is() { [ "${OSCAR_INPUT_SIZE:-$1}" = "$1" ]; }

md5_is() { # an eTag may be a plain MD5, or it has a dash and says nothing of the content
    [ -z "$1" ] || [ "${#OSCAR_INPUT_ETAG}" -ne 32 ] || [ "$1" = "$OSCAR_INPUT_ETAG" ]
}

# In a session of its own, so that no signal to "all of my group" ends the runner. Nearly all images have setsid; bash
# does without.
script() {
    if command -v setsid >/dev/null; then exec setsid /bin/sh "$o_home/script.sh"; fi
    exec /bin/sh "$o_home/script.sh"
}

describe_failure() {
    o_failure="the script ended with exit code $o_code"
    ! has_no_room || o_failure="no space left in $o_tmp: $o_failure"
    printf %s "$o_failure"
}

note_summary() { # the one line that the script says of its work
    o_note=$TMP_OUTPUT_DIR/.summary
    [ -f "$o_note" ] && [ ! -L "$o_note" ] || return 0
    o_summary=$(head -c 320 "$o_note" | head -n 1 | tr -d '[:cntrl:]')
}

stage_out() {
    o_index=0 o_remote='' o_path='' o_filter='' o_written=''
    [ "$OSCAR_OUTPUTS" -gt 0 ] || return 0
    repair
    [ -d "$TMP_OUTPUT_DIR" ] && [ ! -L "$TMP_OUTPUT_DIR" ] || end 120 "the output folder is gone: the script removed it"
    [ -r "$TMP_OUTPUT_DIR" ] && [ -x "$TMP_OUTPUT_DIR" ] || chmod u+rwx "$o_root" "$TMP_OUTPUT_DIR"
    [ -n "$(ls -A "$TMP_OUTPUT_DIR")" ] || return 0
    check_outputs
    while [ "$o_index" -lt "$OSCAR_OUTPUTS" ]; do
        eval "o_remote=\$OSCAR_OUTPUT_${o_index}_REMOTE o_path=\$OSCAR_OUTPUT_${o_index}_PATH"
        eval "o_filter=\$OSCAR_OUTPUT_${o_index}_FILTER"
        eval "o_written=\${OSCAR_OUTPUT_${o_index}_WRITTEN-}"
        printf '%s\n' '- /.summary' >"$o_own/left_out"
        at "$o_remote" "$o_path/"
        skip_written
        transfer "the output files could not be stored (output $o_index)" store ||
            end 120 "the output files could not be stored (output $o_index): $(why)"
        o_index=$((o_index + 1))
    done
    [ ! -s "$o_own/unfit" ] || end 120 "not stored: $(joined "$o_own/unfit")"
}

joined() { head -n 3 "$1" | sed '$!s/$/;/' | tr '\n' ' ' | head -c 900 | sed 's/[; ]*$//'; } # the first reasons of a file

check_outputs() { # links, pipes and the like: rare, and looked at before anything is copied
    [ -z "$(command -v find)" ] || find "$TMP_OUTPUT_DIR" ! -type f ! -type d \
        -exec /bin/sh "$o_home/outputs.sh" "$TMP_OUTPUT_DIR" "$o_root" "$o_own" "" {} +
    [ ! -s "$o_own/refused" ] || end 120 "$(head -c 900 "$o_own/refused")"
}

# What earlier attempts of this run are recorded to have stored with the content that it has now, and what the store
# still has so, is not written again: a retry does not start the next service twice. What another run stored is no
# reason. Lines are "MD5 SIZE NAME" on all three sides; a record may lack the MD5. What cannot be told is written.
skip_written() {
    [ -n "$o_written" ] || return 0
    printf '%s\n' "$o_written" >"$o_own/written"
    make_filter
    list --filter-from "$o_own/filter" "$TMP_OUTPUT_DIR" || return 0
    { cat "$o_own/answer" && sed 's/^[^ ]* / /' "$o_own/answer"; } | shared "$o_own/written" | names >"$o_own/names"
    mv "$o_own/answer" "$o_own/here"
    [ -s "$o_own/names" ] || return 0
    transfer "the output files could not be looked up" list --files-from-raw "$o_own/names" "$o_at" || return 0
    shared "$o_own/here" <"$o_own/answer" >"$o_own/kept"
    sed "s/^/output=$o_index /" "$o_own/kept" >>"$o_own/stored"
    names <"$o_own/kept" | leave_out
}

list() { call lsf --recursive --files-only --format hsp --hash md5 --separator ' ' "$@"; }

shared() { LC_ALL=C grep -Fxf "$1"; }

names() { LC_ALL=C sed 's/^[^ ]* [^ ]* //'; }

leave_out() { LC_ALL=C sed 's/[].[*^$+?(){}|\\]/\\&/g;s,.*,- /{{&}},' >>"$o_own/left_out"; }

make_filter() { { cat "$o_own/left_out" && printf '%s\n' "$o_filter"; } >"$o_own/filter"; }

# Writes whatever is there. rclone lists what is in the store afterwards, with sums that it has anyway.
store() {
    make_filter
    call copy --no-check-dest --filter-from "$o_own/filter" --header-upload "x-amz-meta-oscar-depth: $OSCAR_DEPTH" \
        --log-level INFO --stats-log-level DEBUG --dest-after - --format hsp --separator ' ' \
        "$TMP_OUTPUT_DIR" "$o_at" || { note_copied; return 1; }
    sed "s/^/output=$o_index /" "$o_own/answer" >>"$o_own/stored"
}

# After a call that stored only some files: those are recorded and left out of the next one. Names that no store takes
# are left out, too.
note_copied() {
    sed -n 's/^[^ ]* [^ ]* INFO  : \(.*\): [-A-Za-z ]*Copied ([a-z ]*)$/\1/p' "$o_own/errors" >"$o_own/copied"
    if [ -s "$o_own/copied" ]; then
        awk 'NR == FNR { copied[$0]; next } { name = $0; sub(/^[^ ]* [^ ]* /, "", name) } name in copied' \
            "$o_own/copied" "$o_own/answer" | sed "s/^/output=$o_index /" >>"$o_own/stored"
        leave_out <"$o_own/copied"
    fi
    sed -n 's/.*Replacing invalid UTF-8 characters in \(".*"\)$/the name \1 is not UTF-8/p' "$o_own/errors" |
        sort -u >"$o_own/odd"
    [ ! -s "$o_own/odd" ] || { cat "$o_own/odd" >>"$o_own/unfit" && echo '- {{(?s).*\x{fffd}.*}}' >>"$o_own/left_out"; }
}

# From now on what is written goes on to the launcher and into a file. A TERM to the whole Job leaves these two alone.
# Files are open before the script runs, which may remove them.
start_log() {
    mkfifo "$o_own/all" "$o_own/copy"
    : >"$o_own/log" && exec 5<"$o_own/log"
    (trap '' TERM INT HUP && exec tee "$o_own/copy" <"$o_own/all") & o_tee=$!
    (trap '' TERM INT HUP && keep <"$o_own/copy" >"$o_own/log") & o_keeper=$!
    exec 3>&1 >"$o_own/all" 2>&1
}

keep() { # the first and the last half of what a log may have
    o_half=$((OSCAR_LOG_MAX / 2))
    : >"$o_own/end" && exec 6>"$o_own/end" 7<"$o_own/end" 8<"$o_own/end"
    head -c "$o_half"
    tail -c "$o_half" >&6
    [ "$(($(wc -c <&7)))" -lt "$o_half" ] || say "a log that exceeds $OSCAR_LOG_MAX bytes loses its middle"
    cat <&8
}

store_log() { # and beside it, for a launcher that may lose sight of the Job, how it ended
    o_log=${OSCAR_LOG_PATH##*/}
    repair
    rm -rf "$o_own/kept" && mkdir "$o_own/kept" && cat <&5 >"$o_own/kept/$o_log"
    if [ -n "${OSCAR_RECORD-}" ]; then
        cp "$OSCAR_RESULT" "$o_own/kept/${o_log%.log}.result"
        [ ! -s "$o_own/stored" ] || keep_list "$o_own/kept/${o_log%.log}.outputs"
    fi
    at "$OSCAR_LOG_REMOTE" "${OSCAR_LOG_PATH%/*}/"
    (RCLONE_TIMEOUT=10s rclone copy --no-check-dest "$o_own/kept" "$o_at")
}

clean() {
    if [ -n "$o_keeper" ]; then
        exec >&3 2>&3
        (sleep 2 && kill -KILL "$o_tee") >/dev/null 2>&1 3>&- & # what a script leaves running may hold the pipe open
        wait "$o_tee" "$o_keeper"
        kill "$!" 2>/dev/null
        store_log || say "the log could not be stored"
    fi
    rm -rf "$o_root" "$o_own" 2>/dev/null || { chmod -R u+rwx "$o_root" "$o_own" && rm -rf "$o_root" "$o_own"; }
}

o_tmp=${TMPDIR:-/tmp}
o_own=$o_tmp/oscar.none
o_root=$(mktemp -d "$o_tmp/oscar.XXXXXX") || end 120 "no folder for temporary files in $o_tmp"
o_own=$o_root.runner
export TMP_INPUT_DIR="$o_root/input" TMP_OUTPUT_DIR="$o_root/output"
trap clean EXIT && trap stop TERM INT HUP
mkdir "$TMP_INPUT_DIR" "$TMP_OUTPUT_DIR" "$o_own"
printf '%65536s' '' >"$o_own/reserve" # for the result, if the script fills the disk
[ -z "$OSCAR_LOG_REMOTE" ] || start_log
[ "$OSCAR_STAGE_IN" != 1 ] || stage_in
o_phase=script
command -v setsid >/dev/null || set -m 2>/dev/null
run script || end "$o_code" "$(describe_failure)"
o_phase=stage_out && stage_out
o_phase='done' && end 0 "done"
