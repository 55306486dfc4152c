"""Operations on what software knows and leaves of a machine: registrations, logs, caches. See `operations_table`."""

from __future__ import annotations

from builder.guest.actions import (
    Delete,
    DeleteNamed,
    Empty,
    Truncate,
    Write,
)
from builder.guest.operation import Operation

REGISTRATIONS = (
    Operation(
        "rh-subscription-manager",
        "the build machine's subscription",
        (Delete(("/etc/pki/consumer/*", "/etc/pki/entitlement/*")),),
        covers=("virt-sysprep:rh-subscription-manager",),
    ),
    Operation(
        "rhn-systemid",
        "the build machine's registration",
        (Delete(("/etc/sysconfig/rhn/systemid", "/etc/sysconfig/rhn/osad-auth.conf")),),
        covers=("virt-sysprep:rhn-systemid",),
    ),
    Operation(
        "yum-uuid",
        "counts this machine in its distribution's statistics",
        (Delete(("/var/lib/yum/uuid", "/var/lib/dnf/uuid", "/var/lib/dnf/countme*")),),
        covers=("virt-sysprep:yum-uuid",),
    ),
    Operation(
        "smolt-uuid",
        "an identifier of the build machine's hardware",
        (Delete(("/etc/sysconfig/hw-uuid", "/etc/smolt/uuid", "/etc/smolt/hw-uuid")),),
        covers=("virt-sysprep:smolt-uuid",),
    ),
    Operation(
        "puppet-data-log",
        "the build machine's certificates and state in configuration management",
        (Delete(("/var/log/puppet/*", "/var/lib/puppet/*/*", "/etc/puppetlabs/puppet/ssl",
                 "/opt/puppetlabs/puppet/cache/state")),),
        covers=("virt-sysprep:puppet-data-log",),
    ),
    Operation(
        "salt-minion",
        "the build machine's name and keys in configuration management",
        (Delete(("/etc/salt/minion_id", "/etc/salt/pki/minion/minion.pem", "/etc/salt/pki/minion/minion.pub")),),
    ),
    Operation(
        "samba-db-log",
        "the domain membership and secrets of the build machine",
        (Empty(("/var/lib/samba", "/var/log/samba"), folders_stay=True),),
        covers=("virt-sysprep:samba-db-log",),
    ),
    Operation(
        "sssd-db-log",
        "cached accounts and password hashes of a domain",
        (Empty(("/var/lib/sss/db", "/var/log/sssd")),),
        covers=("virt-sysprep:sssd-db-log",),
    ),
    Operation(
        "dovecot-data",
        "state of the build machine's mail server",
        (Empty(("/var/lib/dovecot",)),),
        covers=("virt-sysprep:dovecot-data",),
    ),
)  # fmt: skip

LEFT_OVERS = (
    Operation(
        "logs",
        "what happened on the build machine is not the clones' history; services keep their (empty) log files",
        (
            Empty(("/var/log/journal", "/var/log/installer", "/var/log/anaconda", "/var/log/dump")),
            DeleteNamed(("/var/log",), ("*.gz", "*.xz", "*.bz2", "*.zst", "*.old", "*.[0-9]", "*.[0-9][0-9]",
                                        "*.[0-9].log", "*-20[0-9][0-9][0-9][0-9][0-9][0-9]")),
            Delete(("/var/log/azure", "/root/anaconda-ks.cfg", "/root/original-ks.cfg",
                    "/root/initial-setup-ks.cfg", "/root/install.log*")),
            Truncate(("/var/log",)),
        ),
        order=80,
        covers=("virt-sysprep:logfiles", "waagent:logs", "cloud-init:logs"),
    ),
    Operation(
        "pacct-log",
        "accounts of processes that ran on the build machine",
        (DeleteNamed(("/var/account", "/var/log/account"), ("pacct-*", "pacct.[0-9]*")),
         Truncate(("/var/account", "/var/log/account"))),
        order=80,
        covers=("virt-sysprep:pacct-log",),
    ),
    Operation(
        "crash-data",
        "memory of programs and kernels of the build machine, which may hold secrets",
        (Empty(("/var/crash", "/var/lib/systemd/coredump", "/var/lib/systemd/pstore", "/var/lib/kdump/crash")),),
        covers=("virt-sysprep:crash-data",),
    ),
    Operation(
        "abrt-data",
        "crash reports of the build machine",
        (Empty(("/var/spool/abrt",)),),
        covers=("virt-sysprep:abrt-data",),
    ),
    Operation(
        "tmp-files",
        "left-overs of the build",
        (Empty(("/tmp", "/var/tmp")),),
        order=81,
        covers=("virt-sysprep:tmp-files",),
    ),
    Operation(
        "backup-files",
        "older forms of edited files, which may hold what was taken out",
        (DeleteNamed(("/etc", "/root", "/srv", "/tmp", "/var"), ("*.bak", "*~")),),
        covers=("virt-sysprep:backup-files",),
    ),
    Operation(
        "mail-spool",
        "mail of the build machine",
        (Delete(("/var/spool/mail/*", "/var/mail/*")),),
        covers=("virt-sysprep:mail-spool",),
    ),
    Operation(
        "cron-spool",
        "off: crontabs and at jobs are as likely part of the image as left-overs",
        (Delete(("/var/spool/cron/crontabs/*", "/var/spool/cron/[!ac]*", "/var/spool/cron/atjobs/[!.]*",
                 "/var/spool/at/[!.s]*", "/var/spool/cron/tabs/*")),
         Write("/var/spool/cron/atjobs/.SEQ", "00000\n", mode="0600"),
         Write("/var/spool/at/.SEQ", "00000\n", mode="0600")),
        default=False,
        covers=("virt-sysprep:cron-spool",),
    ),
    Operation(
        "package-cache",
        "packages that are installed already",
        (Empty(("/var/cache/apt/archives",), folders_stay=True),
         Empty(("/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum", "/var/cache/tdnf", "/var/cache/zypp",
                "/var/cache/apk"))),
        covers=("virt-sysprep:package-manager-cache",),
    ),
    Operation(
        "package-lists",
        "indexes that are out of date at the first boot; the package manager fetches them again",
        (Empty(("/var/lib/apt/lists",), folders_stay=True),
         Delete(("/var/cache/apt/pkgcache.bin", "/var/cache/apt/srcpkgcache.bin"))),
        covers=("mkosi:package-metadata",),
    ),
    Operation(
        "caches",
        "made again when they are needed",
        (Empty(("/var/cache/man", "/var/cache/fontconfig"), folders_stay=True),),
    ),
    Operation(
        "rpm-db",
        "lock regions of the package database that belong to the build machine's kernel",
        (Delete(("/var/lib/rpm/__db.*",)),),
        covers=("virt-sysprep:rpm-db",),
    ),
    Operation(
        "blkid-tab",
        "a cache of the build machine's block devices",
        (Delete(("/run/blkid.tab", "/run/blkid.tab.old", "/etc/blkid.tab", "/etc/blkid.tab.old",
                 "/etc/blkid/blkid.tab", "/etc/blkid/blkid.tab.old", "/run/blkid/blkid.tab",
                 "/run/blkid/blkid.tab.old")),),
        covers=("virt-sysprep:blkid-tab",),
    ),
    Operation(
        "lvm-system-devices",
        "names the build machine's disks; with it, LVM ignores those of a clone",
        (Delete(("/etc/lvm/devices/system.devices", "/etc/lvm/devices/backup/*")),),
        covers=("virt-sysprep:lvm-system-devices",),
    ),
    Operation(
        "pam-data",
        "counts of failed logins and sessions of the build machine",
        (Empty(("/var/lib/faillock",)), Delete(("/run/console/*", "/run/faillock/*", "/run/sepermit/*"))),
        covers=("virt-sysprep:pam-data",),
    ),
    Operation(
        "utmp",
        "who is logged in now",
        (Delete(("/run/utmp",)),),
        covers=("virt-sysprep:utmp",),
    ),
    Operation(
        "flag-reconfiguration",
        "off: an interactive set-up at the first boot would wait on a console that nobody sees",
        (Write("/.unconfigured", "", create=True),),
        default=False,
        covers=("virt-sysprep:flag-reconfiguration",),
    ),
)  # fmt: skip
