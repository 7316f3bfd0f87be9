# SPDX-License-Identifier: Apache-2.0
"""Builds the Job of an attempt from the catalogue and the stores."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.config import Config
from oscar_fedcloud.domain.runs import Attempt, OutputPlace, Run, StoredObject, job_name
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.launchers.port import JobSpec, LaunchError
from oscar_fedcloud.launchers.runner.environment import (
    RunnerSettings,
    event_environment,
    output_places,
    remote_name,
    secret_environment,
    service_environment,
    stores_of_run,
    written_environment,
)
from oscar_fedcloud.storage.foreign import foreign_provider
from oscar_fedcloud.storage.ports import ObjectStore


def job_spec(
    service: Service,
    revision: str,
    run: Run,
    attempt: int,
    settings: RunnerSettings,
    stores: Mapping[str, Mapping[str, str]],
    written: Sequence[StoredObject] = (),
) -> JobSpec:
    """Return the Job of one attempt.

    Args:
        stores: the rclone variables of each store that the runner uses, by provider id.
        written: the objects that earlier attempts of the run are recorded to have written.
    """
    job = job_name(service.name, run.id, attempt)
    constant = service_environment(service, settings)
    varying = event_environment(service, run, attempt, job, settings)
    places = output_places(service, run.event)
    return JobSpec(
        job=job,
        service=service,
        service_revision=revision,
        script=service.script.encode("utf-8", "surrogateescape"),
        run=run,
        attempt=attempt,
        env=constant | varying | written_environment(written, places),
        secrets=secret_environment(service, stores),
        memory=service.memory_bytes,
        cpu=service.cpu_cores,
        timeout=float(service.timeout),
        image=service.image,
        constant=constant,
        outputs=places,
    )


class Specs:
    """Builds Job specifications."""

    def __init__(self, config: Config, catalogue: Catalogue, providers: Mapping[str, ObjectStore]) -> None:
        self.catalogue = catalogue
        self.providers = providers
        self.settings = RunnerSettings(
            rclone=config.launcher.rclone,
            log_provider=config.site_store_id,
            log_bucket=config.log_bucket,
            log_max=config.launcher.log_max,
            staging_timeout=config.launcher.staging_timeout,
            node=socket.gethostname(),
        )

    def make(self, run: Run, attempt: int, written: Sequence[StoredObject]) -> JobSpec:
        """Return the Job of one attempt of a run that has already written these objects.

        Raises LaunchError if the service or one of its keys no longer exists.
        """
        entry = self.catalogue.entries.get(run.service)
        if entry is None:
            raise LaunchError(f"service {run.service} no longer exists")
        service = self.catalogue.services[run.service]
        keys = self.catalogue.repository.keys(run.service)
        needed = stores_of_run(service, run, self.settings)
        stores = {provider_id: self._remote(service, provider_id, keys) for provider_id in needed}
        return job_spec(service, str(entry.revision), run, attempt, self.settings, stores, written)

    def places(self, run: Run, attempt: Attempt) -> tuple[OutputPlace, ...]:
        """Return where an attempt of an earlier process may have written; () if its service has changed since."""
        entry, service = self.catalogue.entries.get(run.service), self.catalogue.services.get(run.service)
        if entry is None or service is None or entry.changed > attempt.started:
            return ()
        return output_places(service, run.event)

    def _remote(self, service: Service, provider_id: str, keys: Mapping[str, Credential]) -> dict[str, str]:
        """

        eturn the rclone variables of one store: with the service's own key for a configured store, else from its FDL.
        """
        remote = remote_name(provider_id)
        provider = self.providers.get(provider_id)
        if provider is None:
            try:
                foreign = foreign_provider(service, provider_id)
            except (KeyError, ValueError) as error:
                raise LaunchError(f"service {service.name} no longer has storage provider {provider_id}") from error
            return foreign.rclone_env(remote, foreign.ensure_credential(service, None))
        if provider_id not in keys:
            raise LaunchError(f"service {service.name} has no key for storage provider {provider_id} yet")
        return provider.rclone_env(remote, keys[provider_id])
