# SPDX-License-Identifier: Apache-2.0
"""From queued runs to Jobs, and from ended Jobs to recorded ends."""
