# deep LUN|DEVICE: run the check on another disk than our own, mounted read-only, in its own root: links in it lead
# nowhere else. In a mount namespace of its own, so that nothing has to be undone.
# It ends with 10 when the check has found something, and otherwise with 0 only when it was done.
FOUND=10 UNSEEN=11
case $1 in
    /*) device=$1 ;;
    *) device=$(device_of "$1") ;;
esac
root=/mnt/build-deep
mkdir -p "$root"

unseen() {
    echo "$*" >&2
    exit "$UNSEEN"
}

type_of() {
    blkid -p -o value -s TYPE "$1" 2>/dev/null || :
}

# attach DEVICE FOLDER [OPTIONS]: a journal is not replayed, and a filesystem with the same UUID as ours is no mistake.
# Of the options of its fstab, those count that say which part of a filesystem it is
attach() {
    part_of=$(echo "${3:-}" | tr , '\n' | grep -E '^subvol(id)?=' | sed 's/^/,/' | tr -d '\n')
    case $(type_of "$1") in
        ext[234]) mount -o ro,noload "$1" "$2" ;;
        xfs) mount -o ro,norecovery,nouuid "$1" "$2" ;;
        btrfs) mount -o "ro$part_of" "$1" "$2" ;;
        vfat) mount -o ro "$1" "$2" ;;
        *) return 1 ;;
    esac
}

partitions() {
    for path in "$device"[0-9]* "${device}p"[0-9]* "$device"; do
        if [ -b "$path" ]; then echo "$path"; fi
    done
}

# The name of a volume group, from the text on its disk: LVM's own tools mistake a copy of their disk for a mistake
group_of() {
    head -c 1048576 "$1" | tr '\0' '\n' |
        awk '/^[A-Za-z0-9+_.-]+ \{$/ { name = $1; next } /^id = / && name { print name; exit } { name = "" }'
}

# The volumes of groups on the disk, each as "PATH NAME NAME": where it is here, and its names in its own system. The
# copy of a group is given another name and other UUIDs: ours may be of the same source
volumes() {
    number=0
    for part in $(partitions); do
        [ "$(type_of "$part")" = LVM2_member ] || continue
        command -v vgimportclone >/dev/null || unseen "it has volumes of LVM, and this image has no tools for them (lvm2)"
        group=$(group_of "$part")
        [ -n "$group" ] || unseen "the volume group on $part can't be read"
        number=$((number + 1))
        copy=build_deep_$number
        # What comes by the standard input is not theirs to read
        { vgimportclone --importdevices -n "$copy" "$part" || vgimportclone -n "$copy" "$part"; } < /dev/null >&2 ||
            unseen "the volume group $group can't be taken in (does it have other disks?)"
        vgchange -ay "$copy" < /dev/null >&2 || unseen "the volume group $group can't be used"
        udevadm settle 2>/dev/null || :
        lvs --noheadings -o lv_name "$copy" < /dev/null | while read -r volume; do
            mapped="$(echo "$group" | sed 's/-/--/g')-$(echo "$volume" | sed 's/-/--/g')"
            echo "/dev/$copy/$volume /dev/$group/$volume /dev/mapper/$mapped"
        done
    done
}

volumes=$(volumes) || exit "$UNSEEN"
places=$(partitions; printf '%s\n' "$volumes" | cut -d ' ' -f 1)

# place_of NAME: where what an fstab names is, nothing if it is not on this disk
place_of() {
    case $1 in
        UUID=* | LABEL=* | PARTUUID=*)
            wanted=$(echo "${1#*=}" | tr -d '"')
            for place in $places; do
                if [ "$(blkid -p -o value -s "${1%%=*}" "$place" 2>/dev/null || :)" = "$wanted" ]; then
                    echo "$place"
                    return
                fi
            done
            ;;
        /dev/*) printf '%s\n' "$volumes" | awk -v name="$1" '$2 == name || $3 == name { print $1; exit }' ;;
    esac
}

system=
for place in $places; do
    attach "$place" "$root" 2>/dev/null || continue
    if [ -e "$root/etc/os-release" ] || [ -L "$root/etc/os-release" ]; then
        system=$place
        break
    fi
    umount "$root"
done
[ -n "$system" ] || unseen "no filesystem with an operating system can be mounted from the captured disk"
# What its fstab mounts below, parents first
sed 's/#.*//' "$root/etc/fstab" 2>/dev/null | awk '$2 ~ /^\/./ { print length($2), $1, $2, $4 }' | sort -n |
    while read -r _ name target options; do
        place=$(place_of "$name")
        if [ -z "$place" ] || [ ! -d "$root$target" ] || [ -L "$root$target" ]; then continue; fi
        # Without a driver for vfat, that of the firmware is left out: no identity is in it
        attach "$place" "$root$target" "$options" || [ "$(type_of "$place")" = vfat ] || exit 1
    done || unseen "what its fstab mounts can't be mounted"
mount -t tmpfs none "$root/run" || unseen "nothing can be mounted in it"
mount --bind /dev "$root/dev" || unseen "nothing can be mounted in it"
cat > "$root/run/check"
echo "looking at $system"
status=0
TMPDIR=/run chroot "$root" /bin/sh -u /run/check || status=$?
case $status in
    0) exit 0 ;;
    1) exit "$FOUND" ;;
    *) unseen "the check did not run in it (exit code $status)" ;;
esac
