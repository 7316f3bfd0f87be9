# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a store."""

from __future__ import annotations

from oscar_fedcloud.core_types import Conflict, NotFound


class ProviderError(Exception):
    """A store did not do what was asked of it; the message names provider and bucket. Trying again may help."""


class Refused(ProviderError):
    """The store can never take what was asked of it, such as a name that it does not allow; the message says why."""


class BucketMissing(ProviderError, NotFound):
    """There is no such bucket."""


class BucketNotEmpty(ProviderError, Conflict):
    """The bucket holds objects, and the request did not say that they shall go with it."""
