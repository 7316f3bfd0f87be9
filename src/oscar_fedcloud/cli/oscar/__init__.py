# SPDX-License-Identifier: Apache-2.0
"""``oscar``: services, files and jobs of an OSCAR server from a shell.

Nothing here is imported before it is needed: ``oscar --help`` reads neither an HTTP client nor a terminal library.
"""
