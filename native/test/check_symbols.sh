#!/bin/sh
# check_symbols.sh ISA OBJECT...: a weak function (an inline one or a template that was not inlined) outside the namespace of its
# instruction set would be merged by the linker with the others' copies, and the one that is kept may not run on this CPU.
isa=$1
shift
[ $# -gt 0 ] || { echo "no objects given"; exit 1; }
symbols=$(nm -C --defined-only "$@") || exit 1
found=$(echo "$symbols" | grep -E '^[0-9a-f]+ W ' | grep -v "vantage::cpu::$isa::")
[ -z "$found" ] && exit 0
echo "weak functions outside vantage::cpu::$isa:"
echo "$found" | sort | uniq -c
exit 1
