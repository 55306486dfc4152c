# The functions of the generalize script: POSIX sh, for dash, busybox and bash.
# No function goes through a symbolic link: what it points to was not listed. Whatever stays behind because of that,
# or because something failed quietly, is found by the verifier.

newline='
'
failed=0

begin() {
    operation=$1
    count=0
}

end() {
    echo "$operation: $count files"
}

note() {
    echo "$operation: $*"
}

fail() {
    echo "$operation: $*" >&2
    failed=1
}

# real PATH: true when no folder above it is a symbolic link
real() {
    folder=${1%/*}
    [ -z "$folder" ] || [ "$(cd -P -- "$folder" 2>/dev/null && pwd -P)" = "$folder" ]
}

# resolved FOLDER: where it really stands; as it is when there is none
resolved() {
    if [ -n "$1" ] && folder=$(cd -P -- "$1" 2>/dev/null && pwd -P); then
        printf '%s\n' "${folder%/}"
    else
        printf '%s\n' "$1"
    fi
}

# escaped PATH: a pattern for find that matches this path only
escaped() {
    printf '%s\n' "$1" | sed 's/[][\\*?]/\\&/g'
}

# home_of NAME: by /etc/passwd, without a slash at its end; below /dev/null there is nothing
home_of() {
    awk -F: -v name="$1" '$1 == name && $6 ~ "^/" { found = 1; home = $6; exit }
        END { sub("/+$", "", home); print found ? home : "/dev/null" }' /etc/passwd
}

# may_change PATH: it is there, not to be kept, and not behind a link
may_change() {
    [ -e "$1" ] || [ -L "$1" ] || return 1
    ! kept "$1" || return 1
    real "$1" && return 0
    note "$1 is behind a symbolic link: left alone"
    return 1
}

is_folder() {
    [ -d "$1" ] && [ ! -L "$1" ]
}

is_file() {
    [ -f "$1" ] && [ ! -L "$1" ]
}

# flags_of PATH: the flags that forbid to change it, as chattr calls them: immutable (i), append-only (a)
flags_of() {
    [ -L "$1" ] || lsattr -d "$1" 2>/dev/null | sed -n '1s/ .*//p' | tr -dc ia
}

# forced PATH COMMAND...: a command that changes PATH; where flags forbid it, they are lifted first and told in `lifted`
forced() {
    flagged=$1
    lifted=
    shift
    "$@" 2>/dev/null && return 0
    lifted=$(flags_of "$flagged")
    if [ -n "$lifted" ]; then chattr "-$lifted" "$flagged" || lifted=; fi
    "$@" && return 0
    why_not "$flagged"
    return 1
}

# why_not PATH: tells when flags may be why it could not be changed
why_not() {
    if ! command -v chattr >/dev/null 2>&1 || ! command -v lsattr >/dev/null 2>&1; then
        note "is $1 immutable or append-only? There is no chattr and lsattr here to see and lift that" >&2
    elif [ -n "$(flags_of "$1")" ]; then
        note "$1 is immutable or append-only, and chattr could not lift that" >&2
    elif [ -n "$(flags_of "${1%/*}/")" ]; then
        note "${1%/*}/ is immutable or append-only: chattr -ia lifts that" >&2
    fi
}

# flagged_again PATH: what stays in the image keeps the flags that `forced` lifted
flagged_again() {
    [ -z "$lifted" ] || chattr "+$lifted" "$1" || fail "could not make $1 immutable or append-only again (+$lifted)"
}

# unflag_below FOLDER TEST...: lifts the flags of what matches; without a test, of the folders too. chattr complains of
# links and the like, which have none
unflag_below() {
    if [ $# -eq 1 ]; then
        note "$1 and the folders in it, where they stay, are no longer immutable or append-only"
        chattr -ia "$1" 2>/dev/null
        below "$1" -type d -exec chattr -ia {} + 2>/dev/null
    fi
    below "$@" -type f -exec chattr -ia {} + 2>/dev/null
}

# remove_below FOLDER TEST...: remove what matches and is not a folder
remove_below() {
    number=$(below "$@" ! -type d -print0 | tr -dc '\000' | wc -c)
    [ "$number" -gt 0 ] || return 0
    if ! below "$@" ! -type d -exec rm -f -- {} + 2>/dev/null; then
        unflag_below "$@"
        if ! below "$@" ! -type d -exec rm -f -- {} +; then
            why_not "$1"
            fail "could not remove everything below $1"
        fi
    fi
    count=$((count + number))
}

# Folders that hold something to be kept, or that something is mounted on, stay: rmdir's complaints are no news
remove_folders_below() {
    below "$1" -type d -exec rmdir -- {} + 2>/dev/null || :
}

delete() {
    for path; do
        may_change "$path" || continue
        if is_folder "$path"; then
            remove_below "$path"
            remove_folders_below "$path"
            rmdir -- "$path" 2>/dev/null || :
        elif forced "$path" rm -f -- "$path"; then
            count=$((count + 1))
        else
            fail "could not remove $path"
        fi
    done
}

delete_unless_link() {
    for path; do
        [ -L "$path" ] || delete "$path"
    done
}

empty() {
    for path; do
        may_change "$path" && is_folder "$path" || continue
        remove_below "$path"
        remove_folders_below "$path"
    done
}

empty_of_files() {
    for path; do
        may_change "$path" && is_folder "$path" || continue
        remove_below "$path"
    done
}

# truncate_below FOLDER...: make files that hold something empty
truncate_below() {
    for path; do
        may_change "$path" && is_folder "$path" || continue
        number=$(below "$path" -type f -exec sh -c '
            for file; do
                if [ -s "$file" ]; then (: > "$file") 2>/dev/null && echo; fi
            done' sh {} + | wc -l)
        count=$((count + number))
        truncate_flagged "$path"
    done
}

# truncate_flagged FOLDER: make the files empty that still hold something: logs are append-only on some machines
truncate_flagged() {
    left=$(below "$1" -type f -size +0c)
    [ -n "$left" ] || return 0
    while IFS= read -r file; do
        if forced "$file" overwrite "$file" ''; then count=$((count + 1)); else fail "could not empty $file"; fi
        flagged_again "$file"
    done <<EOF
$left
EOF
}

overwrite() {
    printf %s "$2" > "$1"
}

# replace PATH MODE TEXT: an existing file keeps its owner and its security label. It does not stay immutable: what is
# written here is written anew when a VM starts
replace() {
    is_file "$1" || rm -f -- "$1"
    if forced "$1" overwrite "$1" "$3" && chmod "$2" "$1"; then
        count=$((count + 1))
        [ -z "$lifted" ] || note "$1 is no longer immutable or append-only (-$lifted)"
    else
        fail "could not write $1"
    fi
}

# filter PATH COMMAND...: a file's content becomes what the command makes of it; owner, mode and security label stay
filter() {
    path=$1
    shift
    if text=$("$@" < "$path" && echo .) && forced "$path" overwrite "$path" "${text%.}"; then
        count=$((count + 1))
        flagged_again "$path"
    else
        fail "could not change $path"
    fi
}

# grep's exit code 1 means that no line is left, which is fine
other_lines() {
    grep -Ev -- "$1" || [ $? -eq 1 ]
}

drop_lines() {
    pattern=$1
    shift
    for file; do
        may_change "$file" && is_file "$file" && grep -Eq -- "$pattern" "$file" || continue
        filter "$file" other_lines "$pattern"
    done
}

# write PATH MODE TEXT: only a file that exists
write() {
    if may_change "$1"; then replace "$@"; fi
}

# create PATH MODE TEXT: whether the file exists or not
create() {
    if kept "$1"; then return 0; fi
    mkdir -p -- "${1%/*}/"
    if real "$1"; then replace "$@"; else note "$1 is behind a symbolic link: left alone"; fi
}

link() {
    if kept "$1"; then return 0; fi
    mkdir -p -- "${1%/*}/"
    if real "$1"; then forced "$1" ln -sfn -- "$2" "$1" || fail "could not link $1"; fi
}

run_program() {
    command -v "$1" >/dev/null 2>&1 || return 0
    if "$@"; then count=$((count + 1)); else fail "$1 failed"; fi
}

run_folder() {
    for program in "$1"/*; do
        real "$program" && is_file "$program" && [ -x "$program" ] || continue
        run_program "$program"
    done
}

# lock_root: root's password becomes "*", which no password matches
lock_root() {
    may_change /etc/shadow || return 0
    case $(awk -F: '$1 == "root" { print $2 }' /etc/shadow) in
        '*' | '!' | '!!' | '!*' | '*LOCK*') return 0 ;;
    esac
    filter /etc/shadow awk 'BEGIN { FS = OFS = ":" } $1 == "root" { $2 = "*" } { print }'
}

# The names of the users that provisioning made: by Azure's own record, by the sudo rules that agents write, and the
# user that cloud-init makes by default
provisioned_users() {
    if is_file /var/lib/waagent/ovf-env.xml; then
        tr '>' "$newline" < /var/lib/waagent/ovf-env.xml |
            sed -n 's|^\([^<]*\)</\([A-Za-z0-9]*:\)*UserName$|\1|p'
    fi
    if is_file /etc/sudoers.d/waagent; then
        awk '$1 ~ /^[A-Za-z_]/ { print $1 }' /etc/sudoers.d/waagent
    fi
    if is_file /etc/sudoers.d/90-cloud-init-users; then
        sed -n 's/^# User rules for \([^[:space:]]*\)$/\1/p' /etc/sudoers.d/90-cloud-init-users
    fi
    if is_file /etc/cloud/cloud.cfg; then
        awk '$1 == "default_user:" { inside = 1 } inside && $1 == "name:" { print $2; exit }' /etc/cloud/cloud.cfg
    fi
}

ordinary_users() {
    limits=$(awk '$1 == "UID_MIN" { low = $2 } $1 == "UID_MAX" { high = $2 }
        END { print (low ? low : 1000), (high ? high : 60000) }' /etc/login.defs 2>/dev/null)
    awk -F: -v limits="${limits:-1000 60000}" 'BEGIN { split(limits, limit, " ") }
        $3 >= limit[1] + 0 && $3 <= limit[2] + 0 { print $1 }' /etc/passwd
}

# forget_user NAME: take an account out of the account files. By hand, since images differ in their tools for it, and
# some of those refuse when the user has a process
forget_user() {
    gid=$(awk -F: -v name="$1" '$1 == name { print $4; exit }' /etc/passwd)
    for file in /etc/passwd /etc/shadow /etc/subuid /etc/subgid; do
        if is_file "$file" && grep -q -- "^$1:" "$file"; then filter "$file" awk -F: -v name="$1" '$1 != name'; fi
    done
    # Its own group goes too, unless another account is in it
    own=$1
    if [ -n "$(awk -F: -v gid="$gid" '$4 == gid' /etc/passwd)" ]; then own=; fi
    for file in /etc/group /etc/gshadow; do
        if is_file "$file" && grep -q -- "$1" "$file"; then
            filter "$file" awk -v name="$1" -v own="$own" 'BEGIN { FS = OFS = ":" }
                $1 == own { next }
                {
                    number = split($4, members, ",")
                    $4 = ""
                    for (i = 1; i <= number; i++)
                        if (members[i] != name) $4 = $4 ($4 == "" ? "" : ",") members[i]
                    print
                }'
        fi
    done
}

# remove_users NAME...: accounts of people only; names come from files, so they are checked
remove_users() {
    for name; do
        case $name in
            '' | -* | *[!A-Za-z0-9._-]*) continue ;;
        esac
        case " $spec_users " in
            *" $name "*) note "$name is a user of the spec: left alone" && continue ;;
        esac
        account=$(awk -F: -v name="$name" '$1 == name { print $3 ":" $6; exit }' /etc/passwd)
        uid=${account%%:*}
        home=${account#*:}
        case $uid in
            '' | *[!0-9]*) continue ;;
        esac
        if [ "$uid" -lt 1000 ] || [ "$uid" -eq 65534 ]; then continue; fi
        forget_user "$name"
        # Only a home that is the user's own, and no folder of the system
        case $home in
            /*/*) if [ -n "$(find "$home" -maxdepth 0 -type d -user "$uid" 2>/dev/null)" ]; then delete "$home"; fi ;;
        esac
        delete "/var/mail/$name" "/var/spool/mail/$name" "/var/spool/cron/crontabs/$name" "/var/spool/cron/$name"
        note "removed user $name"
    done
}

reset_machine_id() {
    delete_unless_link /var/lib/dbus/machine-id
    if [ -e /usr/lib/systemd/systemd ] || [ -e /lib/systemd/systemd ]; then
        create /etc/machine-id 0444 "uninitialized$newline"
    else
        delete /etc/machine-id
    fi
}

# The homes of all accounts, / among them: root's is there in some images, and daemons' files have other names.
# Folders above a home may be links (/home -> /var/home); the home itself may not
find_homes() {
    { cut -d: -f6 /etc/passwd; printf '%s\n' /root /home/*; } | sed -n 's,//*,/,g; s,\(.\)/$,\1,; /^\//p' | sort -u |
        while IFS= read -r home; do
            [ -e "$home" ] || continue
            above=$(cd -P -- "${home%/*}/" && pwd -P) || continue
            printf '%s\n' "${above%/}/${home##*/}"
        done
    (cd -P /root 2>/dev/null && pwd -P)
}
