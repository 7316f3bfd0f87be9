# SPDX-License-Identifier: Apache-2.0
"""Operations on jobs: submit, cancel, retry, replay, explain, logs."""
