# What follows the generalize script: look at the result, then switch off. The run command's own folder goes first.
say() {
    echo "build: $*" > /dev/console 2>/dev/null || :
}
if [ "$status" -eq 0 ] && ! check > "$work/findings" 2>&1; then
    # Something that still runs may have filled a file again
    again >> "$work/output" 2>&1
    check > "$work/findings" 2>&1 || status=1
fi
if [ "$status" -eq 0 ]; then
    say "generalized; switching off"
    rm -rf -- "$work"
    sync
    printf '\nbuild: ended 0 no 0 \n'
    # Without the farewells of services, which would end in their logs
    if command -v systemctl >/dev/null 2>&1; then systemctl poweroff --force; else poweroff; fi
    exit 0
fi
cat "$work/findings" >> "$work/output" 2>/dev/null
say "generalize failed with exit code $status"
tail -c 2000 "$work/output" > /dev/console 2>/dev/null || :
signal_agents CONT
