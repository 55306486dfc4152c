"""What a machine shows while it starts, and what that means."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

from builder.machines.local.rehearsal.fabric import Asked, Verdict

# What the console shows when a disk can't start: waiting longer is of no use
FATAL_SIGNS = (
    (r"No bootable device", "the firmware found nothing to start on the disk"),
    (
        r"BdsDxe: No bootable option or device|BdsDxe: starting Boot.* \"EFI Internal Shell\"",
        "the UEFI firmware found nothing to start on the disk",
    ),
    (r"^grub rescue>", "GRUB does not find its files"),
    (r"Minimal BASH-like line editing is supported", "GRUB has no menu: its grub.cfg is missing or not found"),
    (r"Kernel panic - not syncing", "the kernel panicked"),
    (r"ALERT! .* does not exist\. +Dropping to a shell", "the initramfs does not find the root filesystem"),
    (r"Entering emergency mode|You are in emergency mode", "the system stopped in emergency mode"),
)
# What is worth telling while one waits
SIGNS = (
    (r"^Booting from Hard Disk|^BdsDxe: starting Boot", "the firmware starts the disk"),
    (r"GNU GRUB|Loading Linux|Booting `", "the boot loader starts the kernel"),
    (r"Linux version \d", "the kernel starts"),
    (r"systemd\[1\]: .*running in system mode|^Welcome to (?!GRUB)[^!]+!", "systemd starts"),
    (r"cloud-init\[\d+\]: Cloud-init v", "cloud-init runs"),
)
REQUESTS = (
    (r"/metadata/", "the machine asks the instance metadata service"),
    (r"comp=goalstate", "the machine asks the wire server for its goal state"),
    (r"comp=health", "the machine reports its health"),
)
# A specialized machine is up when it shows a login prompt or has reached the last target
UP_SIGNS = r"\blogin:\s*$|Reached target (multi-user\.target|graphical\.target|Multi-User System|Graphical Interface)"


class Watch:
    """What is known about the machine so far. Told by the console's and the fabric's threads, waited for by ours."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.fatal = ""
        self.up = False
        self._told: list[str] = []
        self._news = threading.Condition()

    def shown(self, text: str) -> None:
        """The console shows this line."""
        self._tell(SIGNS, text)
        fatal = next((meaning for pattern, meaning in FATAL_SIGNS if re.search(pattern, text)), "")
        up = re.search(UP_SIGNS, text) is not None
        if fatal or up:
            with self._news:
                self.fatal = self.fatal or fatal
                self.up = self.up or up
                self._news.notify_all()

    def asked(self, request: Asked) -> None:
        """The guest asked for something."""
        self._tell(REQUESTS, request.target)

    def reported(self, verdict: Verdict) -> None:
        """The guest reported its health; what it says while it is still at work is no verdict."""
        if verdict.ready or verdict.failed:
            with self._news:
                self.verdict = self.verdict or verdict
                self._news.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for news, `seconds` at most."""
        with self._news:
            if not (self.verdict or self.fatal or self.up):
                self._news.wait(seconds)

    def told(self, known: int) -> list[str]:
        """What became known after the first `known` things."""
        with self._news:
            return self._told[known:]

    def _tell(self, signs: Sequence[tuple[str, str]], text: str) -> None:
        for pattern, meaning in signs:
            if meaning not in self._told and re.search(pattern, text):
                with self._news:
                    self._told.append(meaning)
                    self._news.notify_all()
