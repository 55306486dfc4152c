#!/bin/sh
# The peer in its own tools: virt-customize, virt-sysprep, qemu-img. Usage: virt.sh BASE FOLDER
set -eu
base=$1
work=$2
rm -rf "$work"
mkdir -p "$work"
cd "$work"
# libguestfs fails with a broken KVM; where KVM works, unset this for a fair comparison
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=${LIBGUESTFS_BACKEND_SETTINGS-force_tcg}
qemu-img create -q -f qcow2 -b "$base" -F qcow2 disk.qcow2
echo 'server_tokens off;' > tokens.conf
echo '<h1>bench</h1>' > index.html
echo bench > motd
printf '#!/bin/sh\nset -eu\nprintf "net.ipv4.conf.all.rp_filter = 1\\n" > /etc/sysctl.d/60-bench.conf\nnginx -t\n' > harden.sh
echo 'Acquire::Check-Valid-Until "false";' > zz-bench
virt-customize -q -a disk.qcow2 \
    --upload zz-bench:/etc/apt/apt.conf.d/zz-bench \
    --install nginx,jq \
    --upload tokens.conf:/etc/nginx/conf.d/tokens.conf \
    --upload index.html:/var/www/html/index.html \
    --upload motd:/etc/motd \
    --run harden.sh \
    --delete /etc/apt/apt.conf.d/zz-bench
virt-sysprep -q -a disk.qcow2
qemu-img convert -f qcow2 -O vpc -o subformat=fixed,force_size=on disk.qcow2 disk.vhd
sync -f disk.vhd
