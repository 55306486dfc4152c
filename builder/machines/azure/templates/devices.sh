# device_of LUN: the block device of a data disk, by the rules of Azure's agents for udev, else by its address on the bus
device_of() {
    udevadm settle 2>/dev/null || :
    for path in "/dev/disk/azure/data/by-lun/$1" "/dev/disk/azure/scsi1/lun$1"; do
        if [ -b "$path" ]; then readlink -f "$path"; return; fi
    done
    for path in /sys/bus/scsi/devices/*:0:*:"$1"/block/*; do
        # The first controller has the OS disk and the temporary one
        case $path in */0:0:*) continue ;; esac
        if [ -b "/dev/${path##*/}" ]; then echo "/dev/${path##*/}"; return; fi
    done
    echo "there is no disk with LUN $1" >&2
    exit 1
}
