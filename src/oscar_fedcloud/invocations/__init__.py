# SPDX-License-Identifier: Apache-2.0
"""What people ask of jobs: submit, cancel, retry, replay, explain, logs."""
