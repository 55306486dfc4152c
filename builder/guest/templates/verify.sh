# The functions of the check after generalize: what is still there, one line each: path, reason, operation, by tabs.
# They stand on those of generalize.sh, and only look.

found() {
    printf '%s\t%s\t%s\n' "$1" "$2" "$operation"
}

# each REASON: a finding for each path of the input
each() {
    while IFS= read -r path; do found "$path" "$1"; done
}

# counts PATH: it is on the disk, and nobody wants it there
counts() {
    case $1 in
        /run/* | /dev/*) return 1 ;;
    esac
    { [ -e "$1" ] || [ -L "$1" ]; } && ! kept "$1"
}

left() {
    for place; do
        counts "$place" || continue
        if is_folder "$place"; then
            below "$place" ! -type d -print | each "is still there"
        else
            found "$place" "is still there"
        fi
    done
}

left_unless_link() {
    for item; do
        [ -L "$item" ] || left "$item"
    done
}

left_below() {
    for place; do
        if is_folder "$place"; then below "$place" ! -type d -print | each "is still there"; fi
    done
}

# named FOLDER TEST...
named() {
    if is_folder "$1"; then below "$@" -print | each "is still there"; fi
}

filled() {
    for place; do
        if is_folder "$place"; then below "$place" -type f -size +0c -print | each "is not empty"; fi
    done
}

# lines PATTERN WHAT PATH...
lines() {
    pattern=$1
    what=$2
    shift 2
    for place; do
        if counts "$place" && is_file "$place" && grep -Eq -- "$pattern" "$place"; then
            found "$place" "still has $what"
        fi
    done
}

# written PATH TEXT MUST: the content of a file; without MUST it need not be there
written() {
    if kept "$1"; then return 0; fi
    if [ ! -e "$1" ]; then
        [ -z "$3" ] || found "$1" "is missing"
    elif ! is_file "$1" || [ "$(cat -- "$1" && echo .)" != "$2." ]; then
        found "$1" "has another content"
    fi
}

linked() {
    if ! kept "$1" && [ ! -L "$1" ]; then found "$1" "is missing"; fi
}

# accounts NAME...: those of people that are still there
accounts() {
    for name; do
        case " $spec_users " in
            *" $name "*) continue ;;
        esac
        if [ -n "$(awk -F: -v name="$name" '$1 == name && $3 >= 1000 && $3 != 65534' /etc/passwd)" ]; then
            found /etc/passwd "still has the user $name"
        fi
    done
}

root_password() {
    if kept /etc/shadow || ! is_file /etc/shadow; then return 0; fi
    case $(awk -F: '$1 == "root" { print $2; exit }' /etc/shadow) in
        '*' | '!' | '!!' | '!*' | '*LOCK*') ;;
        *) if grep -q '^root:' /etc/shadow; then found /etc/shadow "still has root's password"; fi ;;
    esac
}

machine_id() {
    left_unless_link /var/lib/dbus/machine-id
    if kept /etc/machine-id; then return 0; fi
    if [ -e /usr/lib/systemd/systemd ] || [ -e /lib/systemd/systemd ]; then
        written /etc/machine-id "uninitialized$newline" must
    else
        left /etc/machine-id
    fi
}

# private_keys FOLDER...: those that no operation knows
private_keys() {
    for place; do
        is_folder "$place" || continue
        below "$place" -type f -size +0c -size -2049 -exec sh -c '
            for file; do
                if head -c 4096 "$file" | LC_ALL=C grep -Eq -- "-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----"; then
                    printf "%s\n" "$file"
                fi
            done' sh {} + | each "holds a private key, which all VMs would share"
    done
}

open_accounts() {
    if is_file /etc/shadow && ! kept /etc/shadow; then
        awk -F: 'NF > 1 && $2 == "" { print $1 }' /etc/shadow | while IFS= read -r name; do
            found /etc/shadow "lets $name log in without a password"
        done
    fi
    if kept /etc/passwd; then return 0; fi
    sed 's/^[[:space:]]*//' /etc/passwd | awk -F: '
        NF < 4 || /^[#+-]/ { next }
        $2 == "" { print "lets " $1 " log in without a password" }
        $1 != "root" && $3 ~ /^[[:space:]]*[+-]?0+$/ { print "gives " $1 " UID 0, all rights of root" }
    ' | while IFS= read -r reason; do found /etc/passwd "$reason"; done
}
