#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An executable of the cloud `command`, as quick as one can be: hands its standard input, which is one line, to the cloud
# of a test. Usage: kwok_cloud_client.sh PORT VERB
exec 3<> "/dev/tcp/127.0.0.1/$1" || exit 1
{ echo "$2"; cat; echo; } >&3
answer=$(cat <&3)
[ -n "$answer" ] && echo "$answer"
