# Prints a part of what the last script printed, packed: from byte $1 on $2 bytes, of their text $4 letters from $3 on.
set -u
text=$(tail -c +$(($1 + 1)) "$work/output" | head -c "$2" | gzip -9nc | base64 | tr -d '\n')
printf 'build: window %s ' "${#text}"
printf %s "$text" | tail -c +$(($3 + 1)) | head -c "$4"
echo
