# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true before a site is installed, as pure functions from facts to sentences.

Every problem is one sentence that names the field, its value and what would be right. Nothing here raises for a bad
value, so that one run tells all of them. PRIVATE to the collection.
"""
