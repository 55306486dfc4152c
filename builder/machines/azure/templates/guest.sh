# What every script of a build runs with, inside a Linux guest. It is told from outside what to run; it prints the
# script's output as it comes and, in its last line, how it ended, how much was printed, and the end of that.
# Everything it needs is below $work, which the next script removes.

set -u
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root USER=root LOGNAME=root SHELL=/bin/sh LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive
# Not exported: only the script itself gets them
sealed=${BUILD_SECRETS:-}
unset BUILD_SECRETS
cd /

broken() {
    echo "build: $*" >&2
    exit 125
}

# The folder of this script alone is left: those of earlier ones go
prepare_work() {
    for old in /run/build-* /var/tmp/build-*; do
        [ "$old" = "$work" ] || rm -rf -- "$old"
    done
    mkdir -p -- "$work/files" || broken "no folder for the script"
    chmod 0755 "$work" "$work/files"
}

# unpack SHA256 PIECE...: the files that the script reads, which came as one archive in one or more pieces
unpack() {
    wanted=$1
    shift
    cat -- "$@" | base64 -d > "$work/files.tar.gz" || broken "files did not arrive"
    found=$(sha256sum "$work/files.tar.gz")
    [ "${found%% *}" = "$wanted" ] || broken "files did not arrive as they were sent"
    tar -xzf "$work/files.tar.gz" -C "$work/files" || broken "files can't be unpacked"
    rm -f -- "$work/files.tar.gz" "$@"
}

# run SECONDS PROGRAM...: to its end, or until the time is over; then all its processes are killed
run() {
    limit=$1
    shift
    export BUILD_FILES="$work/files"
    : > "$work/output"
    tail -n +1 -f "$work/output" 2>/dev/null &
    shown=$!
    began=$(date +%s)
    (
        umask 022
        if [ -n "$sealed" ]; then eval "$(printf %s "$sealed" | base64 -d)"; fi
        unset sealed
        exec timeout -k 10 "$limit" "$@"
    ) > "$work/output" 2>&1 < /dev/null
    status=$?
    late=no
    if [ "$(($(date +%s) - began))" -ge "$limit" ]; then
        case $status in 124 | 137 | 143) late=yes ;; esac
    fi
    kill "$shown" 2>/dev/null
    wait "$shown" 2>/dev/null
    rm -rf -- "$work/files" "$work/script"
}

finish() {
    # A snapshot of a running machine holds what has reached its disk
    sync
    size=$(wc -c < "$work/output")
    end=$(tail -c 2700 "$work/output" | base64 | tr -d '\n')
    printf '\nbuild: ended %s %s %s %s\n' "$status" "$late" "$((size))" "$end"
    exit "$status"
}
