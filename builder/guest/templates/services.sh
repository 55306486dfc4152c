# Which services start at boot, by systemd or OpenRC; nothing is started now.
openrc() {
    if [ ! -x "/etc/init.d/$1" ]; then
        echo "there is no service $1" >&2
        return 1
    fi
}

enable() {
    for service; do
        if [ "$manager" = systemd ]; then
            systemctl enable "$service"
        else
            openrc "$service" && rc-update add "$service" default
        fi
    done
}

disable() {
    for service; do
        if [ "$manager" = systemd ]; then
            systemctl disable "$service"
        else
            openrc "$service" && rm -f /etc/runlevels/*/"$service"
        fi
    done
}

mask() {
    for service; do
        if [ "$manager" = openrc ]; then
            echo "OpenRC has no masked services: disable $service instead" >&2
            return 1
        fi
        systemctl mask "$service"
    done
}

if command -v systemctl >/dev/null 2>&1; then
    manager=systemd
elif command -v rc-update >/dev/null 2>&1; then
    manager=openrc
else
    echo "the image has neither systemd nor OpenRC" >&2
    exit 1
fi
