# grow|keep [LUN FILESYSTEM LABEL MOUNT]...: the root filesystem as large as its disk; filesystems on data disks.

grow_root() {
    source=$(findmnt -no SOURCE /)
    type=$(findmnt -no FSTYPE /)
    disk=$(lsblk -no PKNAME "$source" | head -n 1)
    number=$(cat "/sys/class/block/${source##*/}/partition" 2>/dev/null || :)
    if [ -z "$disk" ] || [ -z "$number" ]; then
        echo "/ is on no partition of its own ($source): the image grows it, or a step of yours" >&2
        return
    fi
    if command -v growpart >/dev/null; then
        # Its exit code 1 says that there is nothing to grow
        growpart "/dev/$disk" "$number" || [ $? -eq 1 ]
    else
        sfdisk --no-reread -N "$number" "/dev/$disk" <<'END'
,+
END
        partx -u "/dev/$disk"
    fi
    case $type in
        ext4) resize2fs "$source" ;;
        xfs) xfs_growfs / ;;
        btrfs) btrfs filesystem resize max / ;;
        *) echo "a root filesystem of type $type is not grown" >&2 ;;
    esac
}

make() {
    device=$(device_of "$1")
    if [ -n "$(blkid -p -o value -s TYPE "$device" 2>/dev/null || :)" ]; then
        echo "the disk with LUN $1 already has a filesystem: it is left as it is" >&2
    else
        case $2 in
            ext4) mkfs.ext4 -q -F ${3:+-L "$3"} "$device" ;;
            xfs) mkfs.xfs -q -f ${3:+-L "$3"} "$device" ;;
            btrfs) mkfs.btrfs -q -f ${3:+-L "$3"} "$device" ;;
        esac
    fi
    [ -n "$4" ] || return 0
    uuid=$(blkid -p -o value -s UUID "$device")
    target=$(printf '%s' "$4" | sed 's/\\/\\134/g; s/ /\\040/g; s/	/\\011/g; s/#/\\043/g')
    mkdir -p -- "$4"
    # A last line without its newline would swallow the next one
    if [ -s /etc/fstab ] && [ -n "$(tail -c 1 /etc/fstab)" ]; then echo >> /etc/fstab; fi
    # nofail: a VM whose data disk is missing must still start (Azure, "Attach a data disk to a Linux VM")
    echo "UUID=$uuid $target $2 defaults,nofail 0 2" >> /etc/fstab
    mount -- "$4"
    echo "LUN $1 ($device) is $4"
}

if [ "$1" = grow ]; then grow_root; fi
shift
while [ $# -gt 0 ]; do
    make "$1" "$2" "$3" "$4"
    shift 4
done
