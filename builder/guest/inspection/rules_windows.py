"""The rules for Windows. See `rules`."""

from __future__ import annotations

from builder.guest.inspection.tables import Rule

WINDOWS = (
    Rule(
        "windows-not-generalized", "error", "Sysprep has not generalized this Windows",
        "ImageState must be IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE (Generalize)",
        "run sysprep /generalize /oobe /shutdown and don't start it again",
    ),
    Rule(
        "windows-undeployable", "error", "Sysprep was interrupted or failed",
        "ImageState IMAGE_STATE_UNDEPLOYABLE is never left by itself",
        "read Windows\\System32\\Sysprep\\Panther\\setupact.log; start again from a copy made before Sysprep",
    ),
    Rule(
        "windows-unfinished", "error", "Windows Setup or Sysprep has not come to its end",
        "each VM would go on with it, or start in audit mode, and never report itself ready (Windows Setup states)",
        "start the machine and let it finish, then run sysprep /generalize /oobe /shutdown",
    ),
    Rule(
        "windows-generalized", "error", "this Windows is generalized, and was said to be specialized",
        "a VM made from it as it is waits for a person to answer Setup's questions (Generalize)",
        "publish it as a generalized image",
    ),
    Rule(
        "windows-drivers", "error", "a driver of Hyper-V does not start, or too late",
        "without vmbus and storvsc Windows stops with INACCESSIBLE_BOOT_DEVICE, without netvsc it has no network",
        "set the Start value of the service back to its default",
    ),
    Rule(
        "windows-agent", "warning", "the Azure VM agent is not installed or switched off",
        "extensions and Run Command need it (Windows)",
        "install the VM agent's .msi before Sysprep",
    ),
    Rule(
        "windows-remote-desktop", "warning", "Remote Desktop is off",
        "nobody can log in (Windows)",
        "set fDenyTSConnections to 0 and TermService to start",
    ),
    Rule(
        "windows-pending-restart", "warning", "updates or changes wait for a restart",
        "Sysprep fails, or the first boot takes long (Windows)",
        "restart until nothing waits, then run Sysprep",
    ),
    Rule(
        "windows-clock", "warning", "Windows takes the hardware's clock for local time",
        "Azure's is in UTC: RealTimeIsUniversal must be 1 (Windows)",
        "set RealTimeIsUniversal to 1",
    ),
    Rule(
        "windows-cdrom", "warning", "the CD-ROM driver is switched off",
        "provisioning data comes on a virtual DVD: the first start would hang (Generalize)",
        "set Start of the service cdrom to 1",
    ),
    Rule(
        "windows-routes", "warning", "there are static routes",
        "they lead to the network of another machine (Windows)",
        "route delete *, and leave only what Azure needs",
    ),
    Rule(
        "windows-answer-file", "warning", "an answer file is left",
        "Azure supports no answer files of one's own; Sysprep would use it again (Generalize)",
        "delete Windows\\Panther\\unattend.xml and Windows\\System32\\Sysprep\\unattend.xml",
    ),
    Rule(
        "windows-unclean", "warning", "Windows was not shut down completely",
        "the machine did not shut down cleanly (or uses fast startup): what is shown here may be old",
        "shut Windows down with shutdown /s /t 0",
    ),
    Rule(
        "windows-unreadable", "error", "Windows' registry can't be read",
        "it is damaged or missing: Windows would not start",
        "copy the disk again",
    ),
    Rule(
        "windows-specialized", "note", "this Windows is a copy of one machine (specialized)",
        "as that it may be published; VMs made from it share its identity",
        "say --specialized when that is meant, --generalized when not",
    ),
)  # fmt: skip
