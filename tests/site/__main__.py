# SPDX-License-Identifier: Apache-2.0
"""The test site: virtual machines, and a mirror of all that they install.

Usage: python tests/site up|down|status|reset|power-on|power-off|ssh ...   (as root; --help tells more)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

import cloud
import guests
import keys
import site_state
from run import SiteError, only_one, say
from settings import HOSTS, SITE


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        if os.geteuid() != 0:
            raise SiteError("The test site needs root: it makes a bridge and starts virtual machines.")
        options.action(options)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return 130
    return int(getattr(options, "status", 0))


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    known = ", ".join(host.name + (" (spare)" if host.spare else "") for host in HOSTS)
    top = argparse.ArgumentParser(prog="python tests/site", description="The test site.", epilog=f"Hosts: {known}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: object, help_text: str, hosts: str | None = "*") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_text, description=help_text)
        sub.set_defaults(action=action)
        if hosts:
            sub.add_argument("hosts", nargs=hosts, metavar="HOST", default=[])
        return sub

    command("up", up, "start mirror and virtual machines (all but the spare ones when none is named)")
    command("down", down, "stop everything and throw the virtual machines away; caches are kept", hosts=None)
    command("status", status, "show what runs", hosts=None).add_argument("--json", action="store_true")
    command("reset", reset, "throw virtual machines away and start fresh ones", hosts="+")
    command("power-on", power_on, "start virtual machines that are off", hosts="+")
    off = command("power-off", power_off, "cut the power of virtual machines; their disks are kept", hosts="+")
    off.add_argument("--orderly", action="store_true", help="let them shut down first")
    programs = command(
        "cloud", cloud_program, "let the front end use the cloud of the test site, and what that does", None
    )
    programs.add_argument("program", choices=("up", "down", *cloud.PROGRAMS))
    image = command("image", save_image, "make an image for the cloud of a virtual machine that is off", hosts=None)
    image.add_argument("host")
    image.add_argument("name")
    ssh = command("ssh", login, "log in to a virtual machine, or run a command there", hosts=None)
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    return top


def up(options: argparse.Namespace) -> None:
    hosts = guests.named(options.hosts)
    with changing_the_site():
        site_state.up(hosts)
    say(f"The site is up: {', '.join(host.name for host in hosts)}. Next: ansible-playbook -i tests/site/inventory ...")


def down(_options: argparse.Namespace) -> None:
    with changing_the_site():
        site_state.down()
    say("The site is down. Its caches are kept.")


def status(options: argparse.Namespace) -> None:
    say(site_state.as_json() if options.json else site_state.as_table())


def reset(options: argparse.Namespace) -> None:
    hosts = guests.named(options.hosts)
    with changing_the_site():
        for host in hosts:
            guests.remove(host)
        site_state.start(hosts)


def power_on(options: argparse.Namespace) -> None:
    with changing_the_site():
        site_state.start(guests.named(options.hosts))


def power_off(options: argparse.Namespace) -> None:
    for host in guests.named(options.hosts):
        guests.power_off(host, hard=not options.orderly)


def cloud_program(options: argparse.Namespace) -> None:
    with changing_the_site() if options.program != "list" else contextlib.nullcontext():
        if options.program == "up":
            cloud.up()
        elif options.program == "down":
            cloud.down()
        else:
            options.status = cloud.serve(options.program)


def save_image(options: argparse.Namespace) -> None:
    [host] = guests.named([options.host])
    with changing_the_site():
        cloud.save(host, options.name)


def login(options: argparse.Namespace) -> None:
    [host] = guests.named([options.host])
    os.execvp("ssh", ["ssh", "-F", str(keys.CONFIG), host.name, *options.command])


def changing_the_site() -> AbstractContextManager[None]:
    """One command at a time."""
    return only_one(SITE / "lock")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
