# Accounts with shadow's tools (useradd) or busybox's (adduser). An account that exists is brought to what is asked for.
umask 022

field() {
    awk -F: -v name="$1" -v number="$2" '$1 == name { print $number; exit }' /etc/passwd
}

no_login_shell() {
    for shell_path in /usr/sbin/nologin /sbin/nologin /bin/false; do
        if [ -x "$shell_path" ]; then echo "$shell_path" && return; fi
    done
}

login_shell() {
    if [ -x /bin/bash ]; then echo /bin/bash; else echo /bin/sh; fi
}

# account NAME UID SYSTEM SHELL HOME COMMENT; "" stands for what was not given, SYSTEM is "yes" or ""
account() {
    name=$1 uid=$2 system=$3 shell=$4 home=$5 comment=$6
    if [ -n "$(field "$name" 1)" ]; then
        change_account
        return
    fi
    if [ -z "$shell" ]; then
        if [ -n "$system" ]; then shell=$(no_login_shell); else shell=$(login_shell); fi
    fi
    # Neither tool makes the folders above a home
    if [ -z "$system" ] || [ -n "$home" ]; then
        above=${home:-/home/$name}
        mkdir -p -- "${above%/*}/"
    fi
    if command -v useradd >/dev/null 2>&1; then make_with_useradd; else make_with_adduser; fi
    # No password matches "*"; unlike "!" it does not lock the account for SSH keys where there is no PAM
    printf '%s:*\n' "$name" | chpasswd -e
    echo "made user $name"
}

make_with_useradd() {
    set -- --shell "$shell" --comment "$comment"
    [ -z "$uid" ] || set -- "$@" --uid "$uid"
    [ -z "$home" ] || set -- "$@" --home-dir "$home"
    [ -z "$system" ] || set -- "$@" --system
    if [ -n "$system" ] && [ -z "$home" ]; then set -- "$@" --no-create-home; else set -- "$@" --create-home; fi
    if grep -q "^$name:" /etc/group; then set -- "$@" --gid "$name"; else set -- "$@" --user-group; fi
    useradd "$@" "$name"
}

make_with_adduser() {
    set -- -D -s "$shell" -g "$comment" -G "$name"
    [ -z "$uid" ] || set -- "$@" -u "$uid"
    [ -z "$home" ] || set -- "$@" -h "$home"
    [ -z "$system" ] || set -- "$@" -S
    [ -z "$system" ] || [ -n "$home" ] || set -- "$@" -H
    grep -q "^$name:" /etc/group || addgroup ${system:+-S} ${uid:+-g "$uid"} "$name"
    adduser "$@" "$name"
}

change_account() {
    set --
    [ -z "$uid" ] || [ "$uid" = "$(field "$name" 3)" ] || set -- "$@" --uid "$uid"
    [ -z "$comment" ] || [ "$comment" = "$(field "$name" 5)" ] || set -- "$@" --comment "$comment"
    [ -z "$home" ] || [ "$home" = "$(field "$name" 6)" ] || set -- "$@" --home "$home" --move-home
    [ -z "$shell" ] || [ "$shell" = "$(field "$name" 7)" ] || set -- "$@" --shell "$shell"
    if [ $# -eq 0 ]; then
        echo "user $name is there already"
    elif command -v usermod >/dev/null 2>&1; then
        usermod "$@" "$name"
        echo "changed user $name"
    else
        echo "user $name is there with other properties, and this image has no usermod to change them" >&2
        return 1
    fi
}

# join NAME GROUP
join() {
    if command -v usermod >/dev/null 2>&1; then usermod --append --groups "$2" "$1"; else addgroup "$1" "$2"; fi
}

# authorize NAME KEY: the public key may log in
authorize() {
    owner=$(field "$1" 3):$(field "$1" 4)
    folder=$(field "$1" 6)
    if [ ! -d "$folder" ]; then
        mkdir -p -- "$folder"
        chown "$owner" "$folder"
    fi
    file=$folder/.ssh/authorized_keys
    mkdir -p -- "$folder/.ssh"
    touch -- "$file"
    grep -qxF -- "$2" "$file" || printf '%s\n' "$2" >> "$file"
    chmod 0700 "$folder/.ssh"
    chmod 0600 "$file"
    chown "$owner" "$folder/.ssh" "$file"
}

# may_sudo NAME: sudo ignores files with a dot in their name
may_sudo() {
    file=/etc/sudoers.d/90-build-$(printf %s "$1" | tr '.$' '__')
    [ -d /etc/sudoers.d ] || mkdir -m 0750 /etc/sudoers.d
    printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$1" > "$file.new"
    chmod 0440 "$file.new"
    if command -v visudo >/dev/null 2>&1; then
        visudo -c -q -f "$file.new"
    else
        echo "sudo is not installed: $file has no effect until it is"
    fi
    mv -f -- "$file.new" "$file"
}

