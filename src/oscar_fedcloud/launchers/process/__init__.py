# SPDX-License-Identifier: Apache-2.0
"""Jobs as processes of this machine, on the host or in containers."""
