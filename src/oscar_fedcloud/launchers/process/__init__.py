# SPDX-License-Identifier: Apache-2.0
"""Jobs as local processes, on the host or in containers."""
