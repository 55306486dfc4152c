#!/bin/sh
# Runs last in prepare: settings of our own that no package brings.
set -eu

echo "level: $LEVEL"
printf 'net.ipv4.conf.all.rp_filter = 1\n' > /etc/sysctl.d/60-web.conf
if [ "$LEVEL" = strict ]; then
    printf 'kernel.kptr_restrict = 2\n' >> /etc/sysctl.d/60-web.conf
fi
nginx -t
