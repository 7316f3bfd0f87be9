# SPDX-License-Identifier: Apache-2.0
"""The console scripts.

A start imports and reads hundreds of thousands of objects that stay, and garbage is looked for among all of them, again
and again: a tenth of the time of a start. So it is looked for less often.
"""

import gc

gc.set_threshold(50_000, 10, 10)
