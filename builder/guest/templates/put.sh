# put SOURCE PATH MODE OWNER GROUP: a file gets its content, owner and mode in one step; folders above it are made.
# A symbolic link at PATH is replaced, not followed.
umask 022

put() {
    folder=${2%/*}
    mkdir -p -- "${folder:-/}"
    if [ -d "$2" ] && [ ! -L "$2" ]; then
        echo "$2 is a folder: a file can't take its place" >&2
        return 1
    fi
    new=$folder/.build-new-${2##*/}
    rm -f -- "$new"
    cp -- "$1" "$new"
    chown -- "$4:$5" "$new"
    chmod "$3" "$new"
    # mv would move the file into the folder that a link points to
    [ ! -L "$2" ] || rm -f -- "$2"
    mv -f -- "$new" "$2"
    echo "$2"
}

