#!/bin/sh
# Runs a firmware on QEMU's Arm MPS2 with the AN386 image (a Cortex-M4F), and decodes what it logs by defmt: cargo's runner.
# Ends with the firmware's own exit status; a firmware that hangs is ended after MPS2_SECONDS, or 600.
set -eu
frames=$(mktemp)
trap 'rm -f "$frames"' EXIT
status=0
timeout "${MPS2_SECONDS:-600}" qemu-system-arm -M mps2-an386 -cpu cortex-m4 -nographic -monitor none -serial none \
    -semihosting-config enable=on,target=native -kernel "$1" > "$frames" || status=$?
defmt-print -e "$1" < "$frames"
exit "$status"
