"""The rules for Linux. See `rules`."""

from __future__ import annotations

from builder.guest.inspection.tables import Rule

GUEST = (
    Rule(
        "fstab-device-name", "error", "fstab names a disk by its kernel's name",
        "names such as /dev/sda1 change with the controller and the order of disks (generic, Debian)",
        "write UUID=... (see `blkid`)",
        mends="writes the UUID of the filesystem",
    ),
    Rule(
        "fstab-missing", "error", "fstab names a filesystem that is not on the disk",
        "systemd waits for it, then stops in an emergency shell",
        "remove the line, or add the option `nofail`",
    ),
    Rule(
        "boot-line", "warning", "no boot line was found",
        "what the kernel is told can't be checked",
        "install GRUB with its configuration in /boot/grub or /boot/grub2, or boot entries in /boot/loader/entries",
    ),
    Rule(
        "boot-root-name", "error", "the boot line names the root by its kernel's name",
        "names such as /dev/sda1 change with the controller and the order of disks",
        "write root=UUID=... and renew the boot configuration",
        mends="writes the UUID of the root filesystem",
    ),
    Rule(
        "boot-root-missing", "error", "the boot line names a root that is not on the disk",
        "the kernel, or its initramfs, waits for it and starts nothing",
        "write the UUID that the root filesystem has (see `blkid`), and renew the boot configuration",
    ),
    Rule(
        "boot-console", "warning", "the kernel doesn't write to the serial console",
        "boot diagnostics and the serial console of Azure show nothing (generic)",
        "add console=ttyS0 (Arm64: ttyAMA0) to the boot line",
        mends="adds it to the boot entries and to their defaults",
    ),
    Rule(
        "boot-parameter", "note", "the boot line differs from what Azure advises for this distribution",
        "docs/inspect.md has the table of what is asked of each",
        "change the boot line",
    ),
    Rule(
        "kernel-missing", "error", "there is no kernel with its modules",
        "nothing starts, or starts without drivers",
        "install the distribution's kernel",
    ),
    Rule(
        "driver-storage", "error", "the initramfs lacks the drivers of Hyper-V's disks",
        "without hv_vmbus and hv_storvsc the kernel finds no root filesystem (generic; common for disks made on KVM)",
        "add hv_vmbus hv_storvsc hv_netvsc to the initramfs and make it again",
        mends="makes the initramfs again with them (Debian's and dracut's; disks of this host's architecture)",
    ),
    Rule(
        "driver-network", "error", "the kernel has no driver for Hyper-V's network",
        "without hv_netvsc a VM has no network and never reports itself ready",
        "install a kernel with Hyper-V's drivers",
    ),
    Rule(
        "driver-nvme", "warning", "the initramfs lacks the NVMe driver",
        "newer VM sizes (v6) have NVMe disks only",
        "add nvme to the initramfs and make it again",
        mends="makes the initramfs again with it (Debian's and dracut's; disks of this host's architecture)",
    ),
    Rule(
        "driver-media", "warning", "the kernel can't read Azure's provisioning media",
        "custom data and passwords come on a virtual DVD with UDF; hardening guides switch its module off (generic)",
        "allow the module udf (and vfat, for the EFI system partition) in /etc/modprobe.d",
    ),
    Rule(
        "initramfs-unreadable", "warning", "an initramfs could not be read",
        "whether its drivers are there can't be said",
        "make it again; install the program that unpacks it on this host",
    ),
    Rule(
        "provisioning-none", "error", "nothing provisions the VM",
        "without cloud-init or the Azure Linux agent a VM made from a generalized image gets no user and never reports "
        "itself ready (OSProvisioningTimedOut)",
        "install cloud-init and the Azure Linux agent (walinuxagent, WALinuxAgent)",
    ),
    Rule(
        "provisioning-conflict", "error", "the agent leaves provisioning to something that isn't there or is off",
        "a VM made from the image never reports itself ready (OSProvisioningTimedOut)",
        "set Provisioning.Agent=auto in /etc/waagent.conf, or enable cloud-init",
    ),
    Rule(
        "agent-missing", "warning", "the Azure Linux agent is not installed or not enabled",
        "extensions and Run Command need it (generic)",
        "install walinuxagent (Debian, Ubuntu) or WALinuxAgent, and enable its service",
    ),
    Rule(
        "cloud-init-datasource", "error", "cloud-init is told to look elsewhere than on Azure",
        "`datasource_list` decides; without Azure in it a VM is not provisioned",
        "write `datasource_list: [ Azure ]` to /etc/cloud/cloud.cfg.d/90-azure.cfg",
    ),
    Rule(
        "resource-disk", "warning", "agent and cloud-init both want to set up the temporary disk",
        "with cloud-init provisioning, ResourceDisk.Format and ResourceDisk.EnableSwap must be n (Ubuntu, RHEL)",
        "set both to n in /etc/waagent.conf",
    ),
    Rule(
        "swap-on-os-disk", "warning", "there is swap on the OS disk",
        "the OS disk is remote storage; swap belongs on the temporary disk (generic)",
        "remove it; let cloud-init make swap on the temporary disk",
    ),
    Rule(
        "ssh", "warning", "no SSH server starts at boot",
        "nobody can log in (generic)",
        "install openssh-server and enable it",
    ),
    Rule(
        "network-stale", "warning", "network settings name one machine's card",
        "a VM's card has another address, or another name: it stays without network (generic, SLES)",
        "remove the card's address (or name) from the file, or the file",
    ),
    Rule(
        "distribution", "warning", "a setting is against what Azure asks of this distribution",
        "docs/inspect.md has the table of what is asked of each",
        "change it as told",
    ),
    Rule(
        "distribution-unknown", "note", "Azure has no page on preparing this distribution",
        "the general rules apply (generic)",
        "test it: `test: - provision: {}`",
    ),
    Rule(
        "identity-left", "error", "the disk is not generalized completely",
        "all VMs would share what is left; `build generalize --list` gives the reasons",
        "generalize it: `source: {file: ...}` with `generalize: {}`, or `waagent -deprovision+user` and look again",
    ),
    Rule(
        "subvolume-unseen", "error", "a btrfs holds files that its fstab does not mount, or snapshots",
        "they are in every VM, with what was the machine's when they were made; generalizing doesn't reach them",
        "`btrfs subvolume delete` them, or mount them by the image's fstab",
    ),
    Rule(
        "left-over", "warning", "the build machine left traces",
        "they are in every VM; `build generalize --list` gives the reasons",
        "generalize it: `source: {file: ...}` with `generalize: {}`",
    ),
    Rule(
        "specialized", "note", "the disk is a copy of one machine (specialized)",
        "as that it may be published; VMs made from it share its identity",
        "say --specialized when that is meant, --generalized when not",
    ),
)  # fmt: skip
