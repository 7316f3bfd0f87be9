# SPDX-License-Identifier: Apache-2.0
"""Each place at which an error is caught, and each bound on what comes from outside, has a test that notices its loss.

The mutations of a group are made in one copy of the package. They do not disturb each other, since the test of each one
brings about a fault of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from parts.mutations import Mutation, check_noticed

CATCH = "unit/daemon/test_catch_boundaries.py::"
READY = CATCH + "test_a_service_that_cannot_be_made_ready_holds_up_no_other"
LIFE = "unit/daemon/test_life.py::"
TASKS = "unit/runtime/test_tasks.py::"
RECEIVERS = "unit/callbacks/test_receivers.py::"
NEVER = "except ZeroDivisionError as error:"

GROUPS: dict[str, list[Mutation]] = {
    "supervision": [
        Mutation(
            "a task that fails is not begun again",
            TASKS + "test_a_task_that_fails_is_begun_again_and_told_of_until_it_works[KeyError]",
            "runtime/tasks.py",
            "        await work()\n    except (Exception, asyncio.CancelledError) as error:\n",
            "        await work()\n    except (OSError, asyncio.CancelledError) as error:\n",
        ),
        Mutation(
            "a cancellation from within ends a task",
            TASKS + "test_a_task_that_fails_is_begun_again_and_told_of_until_it_works[CancelledError]",
            "runtime/waiting.py",
            "and task is not None and task.cancelling() > 0",
            "and task is not None",
        ),
        Mutation(
            "a task that ends by itself is left",
            TASKS + "test_a_task_that_ends_by_itself_is_begun_again",
            "runtime/tasks.py",
            '    return RuntimeError("it ended by itself")\n',
            "    await asyncio.Event().wait()\n    raise AssertionError\n",
        ),
        Mutation(
            "tasks are begun again without a longer pause",
            TASKS + "test_the_pause_doubles_up_to_a_limit_and_begins_anew_after_steady_work",
            "runtime/tasks.py",
            "            pause = doubled(pause, LONGEST_PAUSE)\n",
            "            pause = FIRST_PAUSE\n",
        ),
        Mutation(
            "a task that swallows its cancellation is not cancelled again",
            TASKS + "test_a_task_that_swallows_one_cancellation_ends_nevertheless",
            "runtime/tasks.py",
            "        for task in pending:\n            task.cancel()\n",
            "        for task in pending:\n            task.cancelling() or task.cancel()\n",
        ),
        Mutation(
            "a failed step of the stop is not told of",
            TASKS + "test_a_step_of_the_stop_that_hangs_or_fails_is_named",
            "runtime/tasks.py",
            "    elif not task.cancelled() and (error := task.exception()):\n",
            "    elif task.cancelled() and (error := task.exception()):\n",
        ),
    ],
    "starts and ends": [
        Mutation(
            "a Job that cannot be made stays without an end",
            LIFE + "test_a_job_that_cannot_be_made_ends_with_a_reason[KeyError('own.store')]",
            "dispatch/starts.py",
            "        except (Exception, asyncio.CancelledError) as error:\n"
            "            if is_cancelled(error):\n                raise\n            reason = str(error)\n",
            "        except (LaunchError, OSError) as error:\n            reason = str(error)\n",
        ),
        Mutation(
            "a start is tried once",
            CATCH + "test_a_start_that_fails_is_tried_again_in_the_same_attempt",
            "dispatch/starts.py",
            "_TRIES = 3",
            "_TRIES = 1",
        ),
        Mutation(
            "a start that fails is not called off",
            CATCH + "test_a_start_that_fails_in_the_end_is_called_off",
            "dispatch/starts.py",
            "                    await self._call_off(job)\n",
            "",
        ),
        Mutation(
            "what cannot be called off hides the first reason",
            CATCH + "test_a_start_that_can_neither_be_done_nor_called_off_ends_with_the_first_reason",
            "dispatch/starts.py",
            "            await self.launcher.cancel(job)\n        except Exception as error:\n",
            f"            await self.launcher.cancel(job)\n        {NEVER}\n",
        ),
        Mutation(
            "a start that hangs keeps its place",
            LIFE + "test_one_job_that_hangs_holds_up_no_other_service[launcher.start]",
            "dispatch/starts.py",
            "done, _ = await asyncio.wait({work}, timeout=_SLOW)",
            "done, _ = await asyncio.wait({work})",
        ),
        Mutation(
            "the record of an event is asked for once",
            CATCH + "test_the_start_of_a_job_waits_for_its_record",
            "dispatch/starts.py",
            "            except LedgerUnavailable as error:\n",
            f"            {NEVER}\n",
        ),
        Mutation(
            "an end that is none ends the watch",
            CATCH + "test_an_end_that_is_none_ends_no_task",
            "dispatch/ends.py",
            "            if isinstance(completion, Completion) and isinstance(completion.job, str):\n",
            "            if True:\n",
        ),
        Mutation(
            "an end that cannot be recorded is forgotten",
            CATCH + "test_an_end_is_recorded_and_acknowledged_however_often_that_fails[ledger.finish]",
            "dispatch/ends.py",
            "            except (Exception, asyncio.CancelledError) as error:\n"
            "                if is_cancelled(error):\n                    raise\n"
            '                report(log, "the end of a job cannot be recorded',
            f'            {NEVER}\n                report(log, "the end of a job cannot be recorded',
        ),
        Mutation(
            "an end does not wait for the ledger",
            CATCH + "test_a_ledger_that_is_away_is_waited_for[ledger.attempt_by_job]",
            "dispatch/ends.py",
            "            except LedgerUnavailable as error:\n",
            f"            {NEVER}\n",
        ),
        Mutation(
            "what cannot be recorded is tried as it is for ever",
            LIFE + "test_whatever_a_job_reports_it_ends_and_the_daemon_lives[an unknown state-same life]",
            "dispatch/ends.py",
            "told = _plain(completion, error, failures // _WHOLE_TRIES)",
            "told = completion",
        ),
        Mutation(
            "a Job is acknowledged once",
            CATCH + "test_an_end_is_recorded_and_acknowledged_however_often_that_fails[launcher.acknowledge]",
            "dispatch/ends.py",
            "_ACKNOWLEDGE_TRIES = 4",
            "_ACKNOWLEDGE_TRIES = 1",
        ),
        Mutation(
            "the cancellation of a removed service's Job is tried once",
            CATCH + "test_jobs_of_a_removed_service_are_cancelled_however_often_that_fails",
            "dispatch/dispatcher.py",
            "            except (Exception, asyncio.CancelledError) as error:\n",
            f"            {NEVER}\n",
        ),
    ],
    "queues and adoption": [
        Mutation(
            "without an answer a doubt stays open",
            "unit/dispatch/test_revision_resolver.py::test_without_an_answer_the_run_waits[error1]",
            "dispatch/revision_resolver.py",
            "        except Exception as error:\n",
            f"        {NEVER}\n",
        ),
        Mutation(
            "a queue that fails holds up the others",
            CATCH + "test_a_queue_that_fails_holds_up_no_other[ledger.due]",
            "dispatch/queues.py",
            "            except Exception as error:\n",
            f"            {NEVER}\n",
        ),
        Mutation(
            "a run that cannot begin holds up the others",
            CATCH + "test_a_queue_that_fails_holds_up_no_other[ledger.begin]",
            "dispatch/dispatcher.py",
            "            except Exception as error:\n                self._timers",
            f"            {NEVER}\n                self._timers",
        ),
        Mutation(
            "dispatching does not wait for the ledger",
            CATCH + "test_a_ledger_that_is_away_is_waited_for[ledger.due]",
            "dispatch/dispatcher.py",
            "            except LedgerUnavailable as error:\n                self.ledger_trouble",
            f"            {NEVER}\n                self.ledger_trouble",
        ),
        Mutation(
            "callbacks do not wait for the ledger",
            CATCH + "test_a_ledger_that_is_away_is_waited_for[ledger.callbacks_due]",
            "callbacks/sender.py",
            '                except LedgerUnavailable as error:\n                    log.warning("ledger un',
            f'                {NEVER}\n                    log.warning("ledger un',
        ),
        Mutation(
            "a Job that cannot be adopted holds up the others",
            CATCH + "test_a_job_that_cannot_be_adopted_is_lost_alone",
            "dispatch/adoption.py",
            "            except (Exception, asyncio.CancelledError) as error:\n",
            f"            {NEVER}\n",
        ),
        Mutation(
            "a clock that is set back delays a retry without a bound",
            LIFE + "test_a_clock_that_is_set_back_delays_a_retry_by_the_longest_backoff_at_most[3456000.0]",
            "dispatch/dispatcher.py",
            "if when <= now or when > now + self._longest_wait(name)]",
            "if when <= now]",
        ),
    ],
    "not before, in the ledger": [
        Mutation(
            "a run of a time that no backoff explains waits",
            LIFE + "test_a_clock_that_is_set_back_delays_a_retry_by_the_longest_backoff_at_most[3456000.0]",
            "ledger/queue.py",
            "or_(runs.c.not_before <= now, runs.c.not_before > now + longest)",
            "runs.c.not_before <= now",
        ),
        Mutation(
            "what is of the future supersedes without a question",
            "unit/ledger/test_order.py::test_what_is_of_the_future_is_doubtful[sqlite]",
            "ledger/queue.py",
            "(standing.arrival < item.seq or order > (now + _CLOCK_DIFFERENCE) * 1e9)",
            "standing.arrival < item.seq",
        ),
    ],
    "callbacks": [
        Mutation(
            "an answer that is none is an error",
            RECEIVERS + "test_a_url_that_is_none_is_a_reason[http://x:99999999/]",
            "callbacks/posting.py",
            "        except Exception as error:  # whatever",
            f"        {NEVER}  # whatever",
        ),
        Mutation(
            "a receiver that drips is waited for",
            RECEIVERS + "test_a_receiver_that_drips_is_given_up",
            "callbacks/posting.py",
            "async with asyncio.timeout(TIMEOUT):",
            "async with asyncio.timeout(None):",
        ),
        Mutation(
            "redirections are followed",
            RECEIVERS + "test_redirections_are_not_followed",
            "callbacks/posting.py",
            "follow_redirects=False",
            "follow_redirects=True",
        ),
        Mutation(
            "any address is taken",
            RECEIVERS + "test_addresses_inside_the_site_are_refused_unless_they_are_named[169.254.169.254]",
            "catalogue/callback_addresses.py",
            "if meant.is_global and not",
            "if meant.is_link_local and not",
        ),
        Mutation(
            "the address that was checked is not the one that is used",
            RECEIVERS + "test_the_address_that_was_checked_is_the_one_that_is_used",
            "callbacks/posting.py",
            "pinned = target.copy_with(host=str(address))",
            "pinned = target",
        ),
        Mutation(
            "one receiver takes all places",
            RECEIVERS + "test_a_receiver_that_hangs_delays_no_other_however_much_is_due_to_it",
            "callbacks/sender.py",
            "if self._receivers[receiver] >= _EACH or",
            "if",
        ),
        Mutation(
            "a message that fails is not held back",
            CATCH + "test_a_callback_that_cannot_be_made_waits",
            "callbacks/sender.py",
            "        except Exception as error:\n",
            f"        {NEVER}\n",
        ),
    ],
    "catalogue and stores": [
        Mutation(
            "a bucket that cannot be made holds up the others",
            READY + "[store.ensure_bucket-StoreError-minio.default]",
            "catalogue/reconciler.py",
            '        except StoreError as error:\n            log.warning("bucket not as declared"',
            f'        {NEVER}\n            log.warning("bucket not as declared"',
        ),
        Mutation(
            "a listing that fails holds up the others",
            READY + "[store.list-StoreError-minio.default]",
            "catalogue/reconciler.py",
            "except (StoreError, LedgerUnavailable, RepositoryError) as error:",
            NEVER,
        ),
        Mutation(
            "a bucket that fails unexpectedly ends the lane of its store",
            CATCH + "test_an_unexpected_error_for_one_bucket_holds_up_no_other_of_its_store[store.ensure_bucket]",
            "catalogue/reconciler.py",
            "except Exception as error:  # of this bucket alone: the others of its store are made",
            NEVER,
        ),
        Mutation(
            "a lane that fails is not told of",
            READY + "[store.list-Unexpected-s3.polled]",
            "catalogue/reconciler.py",
            "if lane.cancelled() or (error := lane.exception()) is None:",
            "if lane.cancelled() or (error := lane.exception()) is None or True:",
        ),
        Mutation(
            "a key that cannot be made ends the task",
            READY + "[store.ensure_credential-Unexpected-minio.default]",
            "catalogue/reconciler.py",
            "            except Exception as error:  # affects this service",
            f"            {NEVER}  # of this service alone",
        ),
        Mutation(
            "an input that cannot be polled ends the poller",
            CATCH + "test_an_input_that_cannot_be_polled_holds_up_no_other",
            "sources/poll.py",
            "        except Exception as error:  # affects this input",
            f"        {NEVER}  # of this input alone",
        ),
        Mutation(
            "rows that cannot be used end the listing",
            CATCH + "test_rows_that_cannot_be_used_are_left_out",
            "catalogue/listing.py",
            "if problem is not None and not isinstance(problem, UnusableRows):",
            "if problem is not None:",
        ),
        Mutation(
            "keys that cannot be read end the start",
            CATCH + "test_keys_that_cannot_be_read_are_made_anew",
            "catalogue/reconciler.py",
            '        except Exception as error:\n            report(log, "the keys of a service cannot be read',
            f'        {NEVER}\n            report(log, "the keys of a service cannot be read',
        ),
        Mutation(
            "a service that cannot be used ends the start",
            LIFE + "test_a_document_that_this_version_refuses_stops_its_service_alone",
            "catalogue/catalogue.py",
            "            except Exception as error:\n",
            f"            {NEVER}\n",
        ),
        Mutation(
            "who cannot be told of a service keeps it from being ready",
            CATCH + "test_a_service_is_ready_whoever_cannot_be_told",
            "catalogue/catalogue.py",
            "        except Exception as error:  # the state",
            f"        {NEVER}  # the standing",
        ),
        Mutation(
            "what cannot be cleared away keeps a removal from being told",
            CATCH + "test_a_removed_service_is_gone_whatever_cannot_be_cleared_away[store.drop_credential]",
            "catalogue/changes.py",
            "            except Exception as error:  # the service",
            f"            {NEVER}  # the service",
        ),
        Mutation(
            "one piece of housekeeping ends the others",
            CATCH + "test_housekeeping_goes_on_past_what_fails",
            "daemon/housekeeping.py",
            "    except Exception as error:  # the next piece",
            f"    {NEVER}  # the next piece",
        ),
        Mutation(
            "a part that cannot tell how it stands is an error",
            CATCH + "test_a_part_that_cannot_tell_how_it_stands_is_not_ready[launcher.health]",
            "daemon/invoker.py",
            "    except Exception as error:  # whatever",
            f"    {NEVER}  # whatever",
        ),
        Mutation(
            "all stores share their threads",
            CATCH + "test_a_store_that_hangs_holds_up_no_other",
            "storage/stores.py",
            "{name: StoreCalls(name, _SITE_THREADS) for name in configured}",
            'dict.fromkeys(configured, StoreCalls("all", _SITE_THREADS))',
        ),
        Mutation(
            "a call to a store has no time limit",
            CATCH + "test_a_call_to_a_store_takes_limited_time",
            "storage/stores.py",
            "done, _ = await asyncio.wait([waiter], timeout=seconds)",
            "done, _ = await asyncio.wait([waiter])",
        ),
    ],
    "events": [
        Mutation(
            "a pool has any number of threads",
            CATCH + "test_a_pool_has_no_more_threads_than_its_size",
            "runtime/threads.py",
            "if self._queued > self._idle and self._threads < self.size:",
            "if self._queued > self._idle:",
        ),
        Mutation(
            "a body that no parser foresaw is refused",
            "unit/sources/test_webhook.py::test_a_body_that_no_parser_foresaw_is_kept_and_acknowledged[durable]",
            "sources/webhook.py",
            "        except Exception as error:  # an unexpected",
            f"        {NEVER}  # a body",
        ),
        Mutation(
            "an event that fails before its commit blocks the queue",
            "unit/sources/test_webhook.py::test_an_event_that_fails_before_its_commit_does_not_block_the_queue_either",
            "sources/webhook.py",
            "        except Exception as error:  # an event",
            f"        {NEVER}  # whatever",
        ),
        Mutation(
            "a body of any size is taken",
            "unit/sources/test_webhook.py::test_the_beginning_of_a_body_that_is_too_large_is_kept[sizes0]",
            "sources/webhook.py",
            "    return body[:BODY_LIMIT], len(body) <= BODY_LIMIT\n",
            "    return body, True\n",
        ),
        Mutation(
            "a record of any size is taken of a request",
            "unit/sources/test_http.py::test_a_record_has_bounds_and_so_has_their_number",
            "sources/http.py",
            "    if len(record) > LONGEST_RECORD:\n",
            "    if False:\n",
        ),
        Mutation(
            "a record of any size is taken of a notification",
            "unit/storage/test_hostile.py::test_a_notification_out_of_bounds_is_a_bad_event[bad14]",
            "storage/s3_events.py",
            "    if len(record) > LONGEST_RECORD:\n",
            "    if False:\n",
        ),
        Mutation(
            "a record of any size is stored",
            "unit/ledger/test_record.py::test_a_record_that_is_too_large_is_a_dead_letter[sqlite]",
            "ledger/recording/recorder.py",
            "    if len(recording.event.record) > MAX_RECORD:\n",
            "    if False:\n",
        ),
        Mutation(
            "a forged order is newer than the object",
            "unit/sources/test_http.py"
            "::test_a_forged_order_is_never_newer_than_the_current_object[abc-7FFFFFFFFFFFFFFF]",
            "sources/http.py",
            "order=max(0, min(told.order, found.order - 1))",
            "order=told.order",
        ),
        Mutation(
            "a forged order of the current version counts",
            "unit/sources/test_http.py::test_a_forged_order_of_the_current_version_is_that_of_the_object",
            "sources/http.py",
            "order=min(told.order, found.order)",
            "order=told.order",
        ),
        Mutation(
            "an order has no bound",
            "unit/storage/test_hostile.py::test_the_order_of_a_notification_is_bounded[FFFFFFFFFFFFFFFF]",
            "storage/bounds.py",
            "min(max(nanoseconds, 0), LATEST_ORDER)",
            "max(nanoseconds, 0)",
        ),
        Mutation(
            "a listing that goes round in circles is taken for whole",
            "unit/storage/test_hostile.py::test_a_listing_that_goes_round_in_circles_ends",
            "storage/s3/listing.py",
            '            raise ValueError("the listing is truncated but does not say how to continue")\n',
            "            break\n",
        ),
        Mutation(
            "a listing has any number of pages",
            "unit/storage/s3/test_listing.py::test_a_listing_without_end_is_given_up",
            "storage/s3/listing.py",
            "    for _ in range(_MOST_PAGES):\n",
            "    for _ in range(100_000):\n",
        ),
        Mutation(
            "a result of any size is taken",
            "unit/launchers/runner/test_results.py::test_what_cannot_be_is_a_problem[content7-more than 4096 bytes]",
            "launchers/runner/result.py",
            "    if len(content) > RESULT_MAX:\n",
            "    if False:\n",
        ),
        Mutation(
            "an exit code may be any number",
            "unit/launchers/runner/test_results.py"
            "::test_what_cannot_be_is_a_problem[phase=script\\nexit=99999999999999999999\\n-exit code]",
            "launchers/runner/result.py",
            '_number(fields.get("exit", ""), 255)',
            '_number(fields.get("exit", ""), 10**30)',
        ),
        Mutation(
            "a Job may name any number of outputs",
            "unit/launchers/runner/test_results.py::test_the_number_of_outputs_is_bounded_and_each_counts_once",
            "launchers/runner/outputs.py",
            "        if len(found) == OUTPUTS_MAX:\n",
            "        if False:\n",
        ),
    ],
    "requests": [
        Mutation(
            "one identity takes all bytes",
            "unit/server/test_budget.py::test_one_identity_has_its_share[True]",
            "server/budget.py",
            "if self._held[identity] + size > self._share:",
            "if False:",
        ),
        Mutation(
            "all identities have no total",
            "unit/server/test_budget.py::test_all_identities_have_a_total",
            "server/budget.py",
            "if self.held + size > self._total:",
            "if False:",
        ),
        Mutation(
            "a request that failed holds its bytes",
            "unit/server/test_budget.py::test_a_request_that_fails_holds_nothing",
            "server/budget.py",
            "        if self.held:\n",
            "        if False:\n",
        ),
        Mutation(
            "nothing is reserved for health and hooks",
            "unit/server/test_slow_clients.py::test_busy_connections_have_a_limit_that_spares_health",
            "server/guarded_http.py",
            'if self.url.partition(b"?")[0] in self.reserved:',
            "if False:",
        ),
        Mutation(
            "idle connections do not give way",
            "unit/server/test_slow_clients.py::test_idle_connections_give_way_to_new_ones",
            "server/guarded_http.py",
            "            self.idle.close_oldest()\n",
            "            pass\n",
        ),
        Mutation(
            "a page of jobs has any size",
            "unit/api/test_jobs.py::TestLists::test_bad_queries[limit=1001-query.limit]",
            "api/v2/jobs.py",
            'ctx.number("limit", 100, 1, 1000),\n',
            'ctx.number("limit", 100, 1, 10**9),\n',
        ),
        Mutation(
            "a page of objects has any size",
            "unit/api/test_buckets.py::test_a_page_of_objects_has_bounds[100001]",
            "api/v2/buckets.py",
            'ctx.number("limit", 1000, 1, _MOST)',
            'ctx.number("limit", 1000, 1, 10**9)',
        ),
        Mutation(
            "an error goes past the boundary of the API",
            "unit/api/test_app.py::test_the_unexpected_tells_nothing_of_the_inside",
            "api/routing.py",
            "            except Exception as error:  # the only place",
            f"            {NEVER}  # the only place",
        ),
    ],
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_loss_of_a_boundary_is_noticed(group: str, tmp_path: Path) -> None:
    check_noticed(GROUPS[group], tmp_path)
