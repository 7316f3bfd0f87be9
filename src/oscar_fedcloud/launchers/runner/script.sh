#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts the user's script for runner.sh, which gives this shell a session of its own. The script gets the user's
# variables, and neither variables nor descriptors of the runner. This shell stays its parent and outlives the usual
# signals: a script may end its parent or its whole process group, and its exit code is told nevertheless.
set -u
trap : TERM INT HUP # not ignored: what a shell ignores, its children ignore, too

# A user's variable as an argument NAME=VALUE of env where a shell gives the name a meaning of its own, else set here.
# eval sees names of letters, digits and _ only.
take_variables() {
    for o_name in $o_names; do
        eval "[ -n \"\${OSCAR_USER_$o_name+set}\" ]" || continue # a line inside of another variable's value
        eval "o_value=\$OSCAR_USER_$o_name && unset OSCAR_USER_$o_name"
        case $o_name in
            *[!A-Za-z0-9_]*) ;;
            IFS | PWD | OLDPWD | PPID | UID | EUID | GROUPS | OPTIND | OPTARG | LINENO | RANDOM | SRANDOM | SECONDS | EPOCH* | \
                BASH* | SHELLOPTS | KSH* | ZSH* | FUNCNAME | DIRSTACK | HISTCMD | PIPESTATUS | _ | o_*)
                o_special="$o_special $o_name" && eval "o_special_$o_name=\$o_value"
                ;;
            *) eval "export $o_name=\"\$o_value\"" ;;
        esac
    done
}

# A shebang is followed as the kernel does, so a script in Python works; sh runs a script without one, or whose
# interpreter the image lacks.
start() {
    o_script=$OSCAR_SCRIPT o_special='' o_env=$(command -v env)
    o_names=$(env | sed -n 's/^OSCAR_USER_\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p')
    o_line=$(head -n 1 "$o_script")
    for o_name in $(env | sed -n 's/^\(RCLONE_[A-Za-z0-9_]*\)=.*/\1/p;s/^\(OSCAR_[A-Za-z0-9_]*\)=.*/\1/p'); do
        case $o_name in
            OSCAR_USER_* | OSCAR_JOB | OSCAR_ATTEMPT | OSCAR_SERVICE_NAME | OSCAR_SERVICE_TOKEN) ;;
            *) unset "$o_name" ;;
        esac
    done
    take_variables
    set -f # the words of a shebang are no patterns
    case $o_line in '#!'*) set -- ${o_line#??} ;; esac
    [ -x "${1-}" ] || set -- /bin/sh
    case $1 in */env) case ${2-} in -*) ;; *) command -v "${2-}" >/dev/null || set -- /bin/sh ;; esac ;; esac
    o_interpreter=$1 && shift
    set -- "$o_interpreter" ${1:+"$*"} "$o_script"
    for o_name in $o_special; do
        eval "set -- \"$o_name=\$o_special_$o_name\" \"\$@\""
    done
    [ -z "$o_special" ] || set -- "$o_env" "$@"
    exec "$@"
}

(start) 3>&- 5>&- 9>&-
exit "$?"
