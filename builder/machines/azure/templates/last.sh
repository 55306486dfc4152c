# What follows the generalize script: look at the result, then switch off. The run command's own folder goes first.
say() {
    echo "build: $*" > /dev/console 2>/dev/null || :
}
if [ "$status" -eq 0 ] && ! check > "$work/check" 2>&1; then status=1; fi
if [ -s "$work/check" ]; then cat "$work/check" | tee -a "$work/output"; fi
if [ "$status" -eq 0 ]; then
    say "generalized; switching off"
    rm -rf -- "$work"
    sync
    printf '\nbuild: ended 0 no 0 \n'
    if command -v systemctl >/dev/null 2>&1; then systemctl poweroff --no-block; else poweroff; fi
    exit 0
fi
say "generalize failed with exit code $status"
tail -c 2000 "$work/output" > /dev/console 2>/dev/null || :
