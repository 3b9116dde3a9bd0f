#!/usr/bin/env bash
# scripts/prepare-kernel: what it leaves, in which order modules load, and that a second or concurrent run changes nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_DATA_HOME=$work/data XDG_CACHE_HOME=$work/cache
fail() { printf 'FAIL: %s\n' "$*" >&2; exit 1; }

# Two at once: one does the work, the other finds it done.
"$CLEANROOM_SOURCE_DIR/scripts/prepare-kernel" &
"$CLEANROOM_SOURCE_DIR/scripts/prepare-kernel"
wait $!

kernels=$XDG_DATA_HOME/cleanroom/kernels
current=$kernels/current
[ -L "$current" ] || fail "no link 'current'"
[ "$(find "$kernels" -mindepth 1 -maxdepth 1 -type d | wc -l)" = 1 ] || fail "more than one folder: $(ls -A "$kernels")"
[ -z "$(find "$work" -name '*.deb')" ] || fail "the package was left behind"

# The boot protocol's magic (Documentation/x86/boot.rst): "HdrS" at 0x202.
[ "$(dd if="$current/vmlinuz" bs=1 skip=514 count=4 status=none)" = HdrS ] || fail "vmlinuz is no bzImage"

mapfile -t order <"$current/load-order"
for needed in virtio_mmio virtio_blk virtio_console virtio_rng overlay vsock; do
  [[ " ${order[*]} " = *" $needed "* ]] || fail "'$needed' is not in load-order"
done
[ "${#order[@]}" = "$(find "$current/modules" -name '*.ko' | wc -l)" ] || fail "load-order and modules/ differ"
loaded=" "
for module in "${order[@]}"; do
  file=$current/modules/$module.ko
  [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || fail "$file is no ELF file"
  for dependency in $(/sbin/modinfo -F depends "$file" | tr ',' ' '); do
    [[ $loaded = *" $dependency "* ]] || fail "'$module' stands before '$dependency', which it needs"
  done
  loaded+="$module "
done

before=$(stat -c '%i %Y' "$current/vmlinuz")
"$CLEANROOM_SOURCE_DIR/scripts/prepare-kernel"
[ "$before" = "$(stat -c '%i %Y' "$current/vmlinuz")" ] || fail "a second run made the kernel again"

# A kernel of another recipe (an older checkout's) is replaced, and one that is half there is not taken for a whole one.
echo other >"$current/recipe"
rm "$current/load-order"
"$CLEANROOM_SOURCE_DIR/scripts/prepare-kernel"
[ -s "$current/load-order" ] || fail "a kernel of another recipe was kept"
[ -z "$(find "$kernels" -mindepth 1 -maxdepth 1 -name '.new*' -o -name '.old*')" ] || fail "work folders were left behind"

# A kernel that somebody built and chose stays current; the distribution's is got beside it.
mkdir "$kernels/built"
echo image >"$kernels/built/vmlinuz"
ln -sfn built "$kernels/current"
"$CLEANROOM_SOURCE_DIR/scripts/prepare-kernel"
echo other >"$kernels"/6*/recipe
"$CLEANROOM_SOURCE_DIR/scripts/prepare-kernel"
[ "$(readlink "$kernels/current")" = built ] || fail "the current kernel was taken away"
[ "$(cat "$kernels"/6*/recipe)" != other ] || fail "the distribution's kernel was not made anew"
echo "kernel $(basename "$kernels"/6*): ${#order[@]} modules"
