# SPDX-License-Identifier: Apache-2.0
"""The messages, made from the .proto files beside this by ``tools/build_protos.sh``."""
