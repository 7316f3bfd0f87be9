# SPDX-License-Identifier: Apache-2.0
"""The HTTP server under the API: what a client may send, how much and how slowly."""
