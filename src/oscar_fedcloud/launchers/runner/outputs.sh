#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# outputs.sh OUTPUT ROOT OWN CHAIN PATH...: looks at what lies in the output folder and is neither file nor folder.
# Links are followed wherever they lead (to inputs, to files of the image), with three exceptions, which refuse the Job's
# outputs as a whole, in OWN/refused: a loop, more links to folders than anyone makes by hand, and links to what the
# runner alone may read (/proc shows its keys). What cannot be stored is noted in OWN/unfit and removed;
# the rest is stored. ROOT: the Job's own folder. CHAIN: the real folders on the way to these paths.
set -u
o_output=$1 o_root=$2 o_own=$3 o_chain=$4
shift 4

refuse() {
    [ -s "$o_own/refused" ] || printf '%s' "$1" | tr '[:cntrl:]' ' ' >"$o_own/refused"
    exit 1
}

leave_out() { # leave_out PATH WHY
    printf 'output %s %s' "${1#"$o_output/"}" "$2" | tr '[:cntrl:]' ' ' >>"$o_own/unfit"
    echo >>"$o_own/unfit"
    case $1 in "$o_output"/*) rm -f "$1" ;; esac
}

is_private() { # a real path that the runner alone may read
    case $1/ in
        "$o_real_root"/* | "$o_job"/work/* | "$o_job"/tmp/*) return 1 ;;
        /proc/* | /sys/* | /dev/* | "$o_job"/*) return 0 ;;
    esac
    o_above=${1%/}/
    case $o_job/ in "$o_above"*) return 0 ;; esac # a folder that holds them
    return 1
}

real() { readlink -f "$1" 2>/dev/null || realpath "$1" 2>/dev/null || printf %s "$1"; }

: "${o_job:=$(real "${OSCAR_SCRIPT%/*}")}" "${o_real_root:=$(real "$o_root")}"
export o_job o_real_root

follow() { # a link to a folder
    o_target=$2 o_here=$(real "${1%/*}")
    case $o_chain/$o_here/ in *"/$o_target/"*) refuse "output ${1#"$o_output/"} is a link to a folder that it lies in" ;; esac
    printf x >>"$o_own/followed"
    [ "$(($(wc -c <"$o_own/followed")))" -le 100 ] || refuse "the output folder has more than 100 links to folders"
    find "$o_target" ! -type f ! -type d \
        -exec /bin/sh "$0" "$o_output" "$o_root" "$o_own" "$o_chain/$o_here/" {} +
    [ ! -s "$o_own/refused" ] || exit 1
}

for o_path in "$@"; do
    o_target=''
    if [ -L "$o_path" ]; then
        [ -e "$o_path" ] || { leave_out "$o_path" "is a link to nothing" && continue; }
        o_target=$(real "$o_path")
        ! is_private "$o_target" || refuse "output ${o_path#"$o_output/"} is a link to $o_target, which no job may read"
    fi
    if [ -d "$o_path" ]; then
        follow "$o_path" "$o_target"
    elif [ ! -f "$o_path" ]; then
        leave_out "$o_path" "is neither a file nor a folder"
    fi
done
