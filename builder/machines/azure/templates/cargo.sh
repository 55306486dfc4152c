# cargo FOLDER MARK SHA256 BYTES: the files of a step, from a disk that begins with MARK; their archive is its 2nd block
# and those that follow. The disk shows up a little after Azure has attached it.
set -eu
umask 077
folder=$1 mark=$2 sha256=$3 bytes=$4

find_disk() {
    for device in /dev/sd* /dev/nvme*n* /dev/vd* /dev/xvd*; do
        if [ -r "$device" ] && [ "$(head -c "${#mark}" "$device" 2>/dev/null | tr -d '\0')" = "$mark" ]; then
            echo "$device"
            return
        fi
    done
    return 1
}

archive() {
    tail -c +4097 "$device" | head -c "$bytes"
}

tries=0
until device=$(find_disk); do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
        echo "the disk with the files of this step did not show up" >&2
        exit 125
    fi
    sleep 1
done
found=$(archive | sha256sum)
if [ "${found%% *}" != "$sha256" ]; then
    echo "files did not arrive as they were sent" >&2
    exit 125
fi
mkdir -p -- "$folder/files"
archive | tar -xzf - -C "$folder/files"
