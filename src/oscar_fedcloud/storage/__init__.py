# SPDX-License-Identifier: Apache-2.0
"""Object stores. ``ports`` defines their interfaces; ``registry`` creates those in the configuration."""
