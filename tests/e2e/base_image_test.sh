#!/usr/bin/env bash
# scripts/make-base-image: the same release gives the same digest, others can read the layout, a second run only looks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'FAIL: %s\n' "$*" >&2; exit 1; }
make_image() { "$CLEANROOM_SOURCE_DIR/scripts/make-base-image" --packages make "$@"; }

first=$(make_image --output "$work/first")
second=$(make_image --output "$work/second")
[[ $first =~ ^sha256:[0-9a-f]{64}$ ]] || fail "'$first' is no digest"
[ "$first" = "$second" ] || fail "two images of one release differ: $first, $second"

# Every blob is what its name says, and an independent reader agrees on manifest and configuration.
(cd "$work/first/blobs/sha256" && sha256sum --quiet -c <(for blob in *; do printf '%s  %s\n' "$blob" "$blob"; done)) ||
  fail "a blob does not match its digest"
skopeo inspect --format '{{.Digest}}' "oci:$work/first:demo" | grep -qx "$first" || fail "skopeo reads another digest"
skopeo inspect --config "oci:$work/first:demo" | grep -q '"architecture": *"amd64"' || fail "skopeo reads no configuration"

# What makes images differ between machines, and what a job has no use for, is not in it.
layer=$(skopeo inspect --raw "oci:$work/first:demo" | sed 's/.*"layers":\[{"digest":"sha256:\([0-9a-f]*\)".*/\1/')
zstd -qdc "$work/first/blobs/sha256/$layer" | tar -tf - >"$work/names"
for present in ./usr/bin/make ./etc/hostname ./usr/share/doc/make/copyright; do
  grep -qx "$present" "$work/names" || fail "$present is not in the image"
done
for absent in './var/log/.' './var/cache/apt/archives/.*deb' './usr/share/man/.*[0-9].gz' './dev/null' './var/lib/apt/lists/.*InRelease'; do
  ! grep -x "$absent" "$work/names" || fail "'$absent' is in the image"
done

before=$(stat -c '%i %Y' "$work/first/index.json")
[ "$(make_image --output "$work/first")" = "$first" ] || fail "a second run prints another digest"
[ "$before" = "$(stat -c '%i %Y' "$work/first/index.json")" ] || fail "a second run made the image again"

# Refusals leave everything as it was.
mkdir "$work/home"
echo precious >"$work/home/file"
! make_image --output "$work/home" 2>"$work/said" || fail "a folder that is no layout was overwritten"
grep -q 'it exists and is no OCI layout' "$work/said" || fail "it said: $(cat "$work/said")"
[ "$(cat "$work/home/file")" = precious ] || fail "the folder was changed"
! make_image --output "$work/third" --mirror http://127.0.0.1:9 2>"$work/said" || fail "an image from an unreachable mirror"
grep -q 'cannot fetch the release files' "$work/said" || fail "it said: $(cat "$work/said")"
[ -z "$(find "$work" -maxdepth 1 -name 'third*' ! -name '*.lock')" ] || fail "work folders were left: $(ls "$work")"
echo "image $first"
