"""`build init`: write a first spec with comments, and build.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from builder.errors import BuildError

PROJECT = """\
# What the images of this repository share. Every key: `build schema project`
specs: [images/*.yaml]

# Variables for all specs; values use them as {{ vars.name }}. `--var name=value` sets one for a single call
vars:
  timezone: UTC

# `--env prod` chooses one of these
environments:
  prod:
    vars:
      timezone: Europe/Berlin

# Parts that every spec gets unless it says otherwise
defaults:
  publish:
    retain: {versions: 5}
"""

SPEC = """\
# yaml-language-server: $schema=../.schemas/image.schema.json
# An image. `build validate` checks this file, `build plan` shows what would happen, `build apply` does it.
name: web
description: nginx on Debian 12

os: {family: linux, distribution: debian, release: "12"}

# Where it starts: a fresh disk made from Debian's packages. Others are `file`, `image`, `marketplace`, `gallery`, ...
source:
  bootstrap: {}

# Where it is prepared: on this host, as root. `azure: {}` is a VM in your subscription
machine:
  local: {}

disks:
  os: {size: 8GiB}

# What is put in, in order. Each step leaves a checkpoint: after a change, only what follows it runs again
prepare:
  - packages: {install: [nginx]}
  - files:
      - {path: /var/www/html/index.html, source: files/index.html}
  - script: {path: scripts/timezone.sh, env: {TIMEZONE: "{{ vars.timezone }}"}, timeout: 5m}
  - services: {enable: [nginx]}
  - run: echo "{{ image.name }} {{ image.version }}" > /etc/image-version

# Its identity is taken out (machine-id, SSH host keys, logs, ...); `build generalize --list` shows what and why
generalize: {}

# Before it is published, a VM is started from it as Azure would
test:
  - provision: {}
  - run: systemctl is-active nginx

publish:
  version: auto # the next patch after the newest; or 1.4.x, or 1.4.2
  to:
    - directory: {path: gallery}
"""

PAGE = "<!doctype html>\n<title>Hello</title>\n<p>This page is part of the image.\n"

SCRIPT = """\
#!/bin/sh
set -eu
ln -sf "/usr/share/zoneinfo/$TIMEZONE" /etc/localtime
echo "$TIMEZONE" > /etc/timezone
"""

IGNORE = "/.build/\n/gallery/\n*.buildplan\n"


def command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where. Default: the current folder.")] = Path(),
) -> None:
    """Write a first spec with comments, the files that it uses, and build.yaml. Refuses to overwrite anything."""
    from builder.spec.published import read_schema

    if folder.exists() and not folder.is_dir():
        raise BuildError(f"{folder} is no folder", code="exists", hint="choose another: build init DIR")
    files = {
        "build.yaml": PROJECT,
        "images/web.yaml": SPEC,
        "images/files/index.html": PAGE,
        "images/scripts/timezone.sh": SCRIPT,
        ".schemas/image.schema.json": read_schema("image"),
        ".schemas/project.schema.json": read_schema("project"),
    }
    existing = [name for name in files if os.path.lexists(folder / name)]
    if existing:
        raise BuildError(
            f"{folder / existing[0]} exists already, and nothing is overwritten",
            code="exists",
            hint="choose an empty folder: build init DIR",
        )
    # An existing .gitignore is somebody's: then they know best
    if not os.path.lexists(folder / ".gitignore"):
        files[".gitignore"] = IGNORE
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BuildError(
                f"{path} can't be written: {error.strerror}",
                code="not-written",
                hint="choose a folder that you may write to: build init DIR",
            ) from error
    print("Wrote:", *(f"  {folder / name}" for name in files), sep="\n")
    print(f"Next: build validate{'' if folder == Path() else f' {folder}'}")
