#!/bin/sh
# The peer that a good engineer writes by hand: loop device, chroot, rm, fstrim, qemu-img. Usage: chroot.sh BASE FOLDER
set -eu
base=$1
work=$2
rm -rf "$work"
mkdir -p "$work/root"
cd "$work"
qemu-img convert -f qcow2 -O raw "$base" disk.raw
offset=$(($(sfdisk --json disk.raw | python3 -c '
import json, sys
print(max(json.load(sys.stdin)["partitiontable"]["partitions"], key=lambda part: part["size"])["start"])') * 512))
device=$(losetup --find --show --offset "$offset" disk.raw)
finish() {
    for target in root/dev/pts root/dev root/proc root/sys root; do mountpoint -q "$target" && umount "$target"; done
    losetup -d "$device"
}
trap finish EXIT
mount "$device" root
mount --bind /dev root/dev
mount --bind /dev/pts root/dev/pts
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mv root/etc/resolv.conf resolv.conf.image
cp /etc/resolv.conf root/etc/resolv.conf
printf '#!/bin/sh\nexit 101\n' > root/usr/sbin/policy-rc.d
chmod +x root/usr/sbin/policy-rc.d
echo 'Acquire::Check-Valid-Until "false";' > root/etc/apt/apt.conf.d/zz-bench
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
chroot root apt-get update -q
chroot root apt-get install -y -q --no-install-recommends nginx jq
echo 'server_tokens off;' > root/etc/nginx/conf.d/tokens.conf
echo '<h1>bench</h1>' > root/var/www/html/index.html
echo bench > root/etc/motd
chroot root sh -c "printf 'net.ipv4.conf.all.rp_filter = 1\n' > /etc/sysctl.d/60-bench.conf; nginx -t"
rm -f root/usr/sbin/policy-rc.d root/etc/apt/apt.conf.d/zz-bench root/etc/resolv.conf
mv resolv.conf.image root/etc/resolv.conf
chroot root apt-get clean
rm -rf root/var/lib/apt/lists/* root/var/cache/apt/*.bin root/etc/ssh/ssh_host_* root/var/lib/cloud/* root/var/lib/waagent/* \
    root/var/log/*.log root/var/log/journal/* root/var/log/apt/* root/tmp/* root/var/tmp/* root/root/.bash_history \
    root/var/lib/systemd/random-seed root/var/lib/dbus/machine-id root/var/lib/dhcp/*
chmod u+w root/etc/machine-id
echo uninitialized > root/etc/machine-id
fstrim root
finish
trap - EXIT
qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on disk.raw disk.vhd
sync -f disk.vhd
