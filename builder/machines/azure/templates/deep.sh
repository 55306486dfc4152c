# deep LUN|DEVICE: run the check on another disk than our own, mounted read-only, in its own root: links in it lead
# nowhere else. In a mount namespace of its own, so that nothing has to be undone.
case $1 in
    /*) device=$1 ;;
    *) device=$(device_of "$1") ;;
esac
root=/mnt/build-deep
mkdir -p "$root"

# attach DEVICE FOLDER: a journal is not replayed, and a filesystem with the same UUID as ours is no mistake
attach() {
    case $(blkid -p -o value -s TYPE "$1" 2>/dev/null || :) in
        ext[234]) mount -o ro,noload "$1" "$2" ;;
        xfs) mount -o ro,norecovery,nouuid "$1" "$2" ;;
        btrfs | vfat) mount -o ro "$1" "$2" ;;
        *) return 1 ;;
    esac
}

partitions() {
    for path in "$device"[0-9]* "${device}p"[0-9]* "$device"; do
        if [ -b "$path" ]; then echo "$path"; fi
    done
}

system=
for part in $(partitions); do
    attach "$part" "$root" 2>/dev/null || continue
    if [ -e "$root/etc/os-release" ] || [ -L "$root/etc/os-release" ]; then
        system=$part
        break
    fi
    umount "$root"
done
if [ -z "$system" ]; then
    echo "no filesystem with an operating system can be mounted from the captured disk" >&2
    exit 1
fi
# What its fstab mounts below, parents first
sed 's/#.*//' "$root/etc/fstab" 2>/dev/null | awk '$2 ~ /^\/./ { print length($2), $1, $2 }' | sort -n |
    while read -r _ name target; do
        case $name in
            UUID=* | LABEL=* | PARTUUID=*) ;;
            *) continue ;;
        esac
        for part in $(partitions); do
            value=$(blkid -p -o value -s "${name%%=*}" "$part" 2>/dev/null || :)
            if [ "$value" = "$(echo "${name#*=}" | tr -d '"')" ] && [ -d "$root$target" ] && [ ! -L "$root$target" ]; then
                attach "$part" "$root$target"
            fi
        done
    done
mount -t tmpfs none "$root/run"
mount --bind /dev "$root/dev"
cat > "$root/run/check"
echo "looking at $system"
TMPDIR=/run chroot "$root" /bin/sh -u /run/check
