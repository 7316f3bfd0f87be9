#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the Python code of the autoscaler's gRPC interface out of its .proto files, with grpcio-tools of $PYTHON.
set -eu
cd "$(dirname "$0")/../src"
folder=oscar_fedcloud/autoscaler/external/protos
"${PYTHON:-python3}" -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. "$folder/externalgrpc.proto" "$folder/node.proto"
rm "$folder/node_pb2_grpc.py" # it has no service
for file in "$folder"/*_pb2*; do
    { echo "# SPDX-License-Identifier: Apache-2.0"; echo "# Made by tools/build_protos.sh; do not edit."; cat "$file"; } > "$file.new"
    mv "$file.new" "$file"
done
