#!/bin/sh
# Settings that every server of ours has. LEVEL is given by the spec.
set -eu
mkdir -p /etc/sysctl.d
printf 'net.ipv4.conf.all.rp_filter = 1\n' > /etc/sysctl.d/60-harden.conf
if [ "$LEVEL" = strict ]; then
    printf 'net.ipv4.conf.all.log_martians = 1\n' >> /etc/sysctl.d/60-harden.conf
fi
