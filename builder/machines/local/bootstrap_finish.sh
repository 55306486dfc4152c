#!/bin/sh
# Runs inside the new system, after its packages are installed and its files are in place: settings of files that
# packages own, material of the boot loaders for the host to put on the disk, and identity out.
set -eu

material=/build-finish
export=$material/export
links=$(cat $material/kernel-links)
mkdir -p $export

fail() {
    echo "bootstrap: $*" >&2
    exit 1
}

# --- Azure Linux agent: cloud-init provisions, so the agent leaves users and the temporary disk alone

setting() { # name value
    if grep -q "^$1=" /etc/waagent.conf; then
        sed -i "s|^$1=.*|$1=$2|" /etc/waagent.conf
    else
        echo "$1=$2" >> /etc/waagent.conf
    fi
}

setting Provisioning.Agent cloud-init
setting ResourceDisk.Format n
setting ResourceDisk.EnableSwap n

# --- services

systemctl enable "serial-getty@$(cat $material/terminal).service" systemd-resolved.service
ln -sfn ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
mkdir -p /boot/efi

# --- kernel and initramfs, as the host checks them

kernel=$(readlink -e "$links/vmlinuz") || fail "there is no kernel at $links/vmlinuz"
initramfs=$(readlink -e "$links/initrd.img") || fail "there is no initramfs at $links/initrd.img"
version=${kernel##*/vmlinuz-}
lsinitramfs "$initramfs" > $export/initramfs
cp "/lib/modules/$version/modules.builtin" $export/builtin
cp /boot/grub/grub.cfg $export/grub.cfg
cp $material/esp.cfg $export/esp.cfg

# --- boot loader of BIOS machines

# GRUB's own installer wants a disk; there is none yet. The host writes the two images where it would
modules="biosdisk part_gpt ext2 search search_fs_uuid normal configfile linux boot echo test serial terminal minicmd
    loadenv gzio ls cat sleep"
if [ -d /usr/lib/grub/i386-pc ]; then
    mkdir -p /boot/grub/i386-pc
    cp /usr/lib/grub/i386-pc/*.mod /usr/lib/grub/i386-pc/*.lst /boot/grub/i386-pc/
    cp /usr/lib/grub/i386-pc/boot.img $export/
    # shellcheck disable=SC2086 # a list of words
    grub-mkimage --format=i386-pc --directory=/usr/lib/grub/i386-pc --prefix=/boot/grub \
        --config=$material/early.cfg --output=$export/core.img $modules
fi
grub-editenv /boot/grub/grubenv create

# --- boot loader of UEFI machines: the signed ones, which Secure Boot accepts

first() { # the first of these files that exists, links followed
    for file in "$@"; do
        if [ -e "$file" ]; then
            readlink -e "$file"
            return
        fi
    done
    fail "none of these files exists: $*"
}

case $(dpkg --print-architecture) in
    amd64) short=x64 long=x86_64 ;;
    arm64) short=aa64 long=arm64 ;;
    *) fail "no boot loader for $(dpkg --print-architecture)" ;;
esac
mkdir -p $export/efi
cp "$(first /usr/lib/shim/shim$short.efi.signed.latest /usr/lib/shim/shim$short.efi.signed)" $export/efi/shim$short.efi
cp "$(first /usr/lib/grub/$long-efi-signed/grub$short.efi.signed)" $export/efi/grub$short.efi
cp "$(first /usr/lib/shim/mm$short.efi.signed /usr/lib/shim/mm$short.efi)" $export/efi/mm$short.efi

# --- what only the build needed, and what no two machines may share

rm -f /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/0000*
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
rm -f /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old /etc/*-
find /var/log -type f -delete
