# put SOURCE PATH MODE OWNER GROUP: a file gets its content, owner and mode in one step; folders above it are made.
# A symbolic link at PATH is replaced, not followed.
# put_folder PATH OWNER GROUP: a folder that is missing is made for its owner; one that is there is left as it is.
umask 022

put_folder() {
    [ -d "$1" ] && return
    mkdir -p -- "$1"
    chown -- "$2:$3" "$1"
}

put() {
    folder=${2%/*}
    mkdir -p -- "${folder:-/}"
    if [ -d "$2" ] && [ ! -L "$2" ]; then
        echo "$2 is a folder: a file can't take its place" >&2
        return 1
    fi
    # Not made of the file's own name, which may be as long as names can be
    new=$folder/.build-new-file
    rm -f -- "$new"
    cp -- "$1" "$new"
    chown -- "$4:$5" "$new"
    chmod "$3" "$new"
    # mv would move the file into the folder that a link points to
    [ ! -L "$2" ] || rm -f -- "$2"
    mv -f -- "$new" "$2"
    echo "$2"
}

