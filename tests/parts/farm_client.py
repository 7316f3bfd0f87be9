# SPDX-License-Identifier: Apache-2.0
"""An executable of the cloud ``command``: hands its standard input to the farm of a test. Arguments: port, verb."""

import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.sendall(sys.argv[2].encode() + b"\n" + sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
if not answer:
    sys.exit("the farm did not answer")
sys.stdout.buffer.write(answer)
