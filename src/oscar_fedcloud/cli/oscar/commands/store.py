# SPDX-License-Identifier: Apache-2.0
"""``oscar buckets``, ``ls``, ``cp`` and ``rm``: access to the store without keys for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from oscar_fedcloud.cli.oscar.app import App, confirmed, formatted, note, on_server, pass_app
from oscar_fedcloud.cli.oscar.errors import CommandError, Missing, WrongUse
from oscar_fedcloud.cli.oscar.places import SCHEME, Place, is_remote, local_name, parse
from oscar_fedcloud.cli.oscar.text import Column, age, plural, printable, size

MOST = 100_000  # objects in one listing
PARALLEL = 8

_provider = click.option("--provider", metavar="NAME", help="Storage provider.  [default: the site's own]")


@click.group("buckets", invoke_without_command=True)
@formatted
@on_server
@_provider
@click.pass_context
def buckets_command(context: click.Context, provider: str | None) -> None:
    """List, make and delete buckets."""
    if context.invoked_subcommand is None:
        app: App = context.find_object(App)  # type: ignore[assignment]
        found = app.server.buckets(provider)
        app.show((Column("BUCKET"),), found, lambda each: (each,), str, "There are no buckets.")


@buckets_command.command("create")
@click.argument("name")
@on_server
@_provider
@pass_app
def create_command(app: App, name: str, provider: str | None) -> None:
    """Make sure that a bucket exists."""
    app.server.make_bucket(name, provider)
    note(f"bucket {name} exists")


@buckets_command.command("delete")
@click.argument("name")
@click.option(
    "--data", type=click.Choice(("keep", "delete")), default="keep", show_default=True, help="What becomes of objects."
)
@click.option("--force", is_flag=True, help="Also a bucket that services use, which is then made again, empty.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@on_server
@_provider
@pass_app
def delete_bucket_command(app: App, name: str, data: str, force: bool, yes: bool, provider: str | None) -> None:
    """Delete a bucket. One with objects is deleted only with --data delete."""
    confirmed(f"Delete bucket {name}" + (" with all its objects?" if data == "delete" else "?"), yes)
    app.server.delete_bucket(name, data == "delete", force, provider)
    note(f"bucket {name} is deleted")


@click.command("ls")
@click.argument("place", metavar="BUCKET[/PREFIX]")
@click.option("-n", "--limit", type=click.IntRange(1, MOST), default=1000, show_default=True, help="How many at most.")
@formatted
@on_server
@_provider
@pass_app
def ls_command(app: App, place: str, limit: int, provider: str | None) -> None:
    """List the objects of a bucket.

    With PREFIX only those whose keys begin with it. Folders are listed with all that is in them.
    """
    where = parse(place)
    found, more = app.server.objects(where.bucket, where.key, limit, provider)
    now = time.time()
    app.show(
        (Column("SIZE"), Column("AGE"), Column("KEY", shrinks=True)),
        found,
        lambda each: (size(each["size"]), age(each["modified"], now), str(each["key"])),
        lambda each: f"{SCHEME}{where.bucket}/{each['key']}",
        f"There are no objects in {place}.",
    )
    if more:
        note(f"These are the first {limit}; see --limit.")


@click.command("cp")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="Copy folders, and all objects below a prefix.")
@on_server
@_provider
@pass_app
def cp_command(app: App, sources: Sequence[str], target: str, recursive: bool, provider: str | None) -> None:
    """Copy files to and from the store.

    Places in the store are written s3://BUCKET/KEY. A target that ends in a slash, or is a folder, takes the name of
    the source. "-" is standard input or output.
    """
    if is_remote(target):
        if any(is_remote(source) for source in sources):
            raise WrongUse("both sides are in the store: copy to a file first")
        _upload(app, sources, target, recursive, provider)
    elif not all(is_remote(source) for source in sources):
        raise WrongUse(f"neither side is in the store: write places there as {SCHEME}BUCKET/KEY")
    else:
        _download(app, [parse(source) for source in sources], target, recursive, provider)


def _upload(app: App, sources: Sequence[str], target: str, recursive: bool, provider: str | None) -> None:
    from oscar_fedcloud.cli.oscar.pool import results, threads
    from oscar_fedcloud.cli.oscar.progress import progress
    from oscar_fedcloud.cli.oscar.uploads import Upload, collect

    where = parse(target)
    if "-" in sources:
        if list(sources) != ["-"] or not where.key or where.key.endswith("/"):
            raise WrongUse("standard input is one object: give it a whole key")
        _upload_input(app, where, provider)
        return
    files = [Path(source) for source in sources]
    if not recursive and (folders := [file for file in files if file.is_dir()]):
        raise WrongUse(f"{folders[0]} is a folder: give -r to copy all files below it")
    uploads = collect(files)
    inside = where.key == "" or where.key.endswith("/") or len(files) > 1 or files[0].is_dir()
    prefix = where.key if where.key == "" or where.key.endswith("/") else where.key + "/"

    def send(upload: Upload) -> None:
        key = prefix + upload.name if inside else where.key
        with_progress = lambda count: bars.advance("sent", count)  # noqa: E731
        try:
            app.server.put(where.bucket, key, lambda: upload.path.open("rb"), with_progress, provider)
        except OSError as error:
            raise CommandError(f"{upload.path} cannot be read: {error.strerror}") from error

    with progress(in_bytes=True) as bars, threads(PARALLEL) as pool:
        bars.begin("sent", sum(each.path.stat().st_size for each in uploads))
        for _ in results([pool.submit(send, each) for each in uploads]):
            pass


def _upload_input(app: App, where: Place, provider: str | None) -> None:
    import shutil
    import tempfile

    with tempfile.NamedTemporaryFile() as file:  # the size must be known before the first byte is sent
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        spooled = Path(file.name)
        app.server.put(where.bucket, where.key, lambda: spooled.open("rb"), lambda count: None, provider)


def _download(app: App, places: Sequence[Place], target: str, recursive: bool, provider: str | None) -> None:
    from oscar_fedcloud.cli.oscar.download import write
    from oscar_fedcloud.cli.oscar.pool import results, threads
    from oscar_fedcloud.cli.oscar.progress import progress

    if target == "-":
        _download_output(app, places, provider)
        return
    wanted = [each for place in places for each in _objects(app, place, recursive, provider)]
    inside = recursive or len(places) > 1 or target.endswith("/") or Path(target).is_dir()

    def receive(item: tuple[str, str, str]) -> None:
        bucket, key, name = item
        path = Path(target, local_name(name)) if inside else Path(target)

        def once() -> int:
            with app.server.read(bucket, key, provider) as chunks:
                return write(path, chunks)

        app.server.http.repeated(once)
        bars.advance("fetched")

    with progress() as bars, threads(PARALLEL) as pool:
        bars.begin("fetched", len(wanted))
        for _ in results([pool.submit(receive, each) for each in wanted]):
            pass


def _objects(app: App, place: Place, recursive: bool, provider: str | None) -> list[tuple[str, str, str]]:
    """Return bucket, key and local name of each object at a place. Raises Missing, WrongUse."""
    if not recursive:
        if place.key == "" or place.key.endswith("/"):
            raise WrongUse(f"{place} is no object: give -r to copy all objects below it")
        return [(place.bucket, place.key, place.key.rpartition("/")[2])]
    prefix = place.key if place.key == "" or place.key.endswith("/") else place.key + "/"
    found = [str(each["key"]) for each in app.server.all_objects(place.bucket, prefix, provider)]
    if not found:
        raise Missing(f"there are no objects below {place}")
    return [(place.bucket, key, key[len(prefix) :]) for key in found]


def _download_output(app: App, places: Sequence[Place], provider: str | None) -> None:
    for place in places:
        with app.server.read(place.bucket, place.key, provider) as chunks:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
    sys.stdout.flush()


@click.command("rm")
@click.argument("places", metavar="BUCKET/KEY...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Delete all objects whose keys begin with KEY/.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before several are deleted.")
@on_server
@_provider
@pass_app
def rm_command(app: App, places: Sequence[str], recursive: bool, yes: bool, provider: str | None) -> None:
    """Delete objects."""
    wanted: list[tuple[str, str]] = []
    for text in places:
        place = parse(text)
        if not recursive and (place.key == "" or place.key.endswith("/")):
            raise WrongUse(f"{text!r} is no object: give -r to delete all objects below it")
        found: Any = _objects(app, place, True, provider) if recursive else [(place.bucket, place.key, "")]
        wanted += [(bucket, key) for bucket, key, _ in found]
    if recursive:
        confirmed(f"Delete {plural(len(wanted), 'object')}?", yes)
    for bucket, key in wanted:
        app.server.remove(bucket, key, provider)
        note(f"{printable(f'{bucket}/{key}')} is deleted")
