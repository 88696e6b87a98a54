#!/bin/sh
# check_symbols.sh ISA OBJECT...: a weak symbol (an inline function or template that was not inlined) outside the namespace of its
# instruction set would be merged by the linker with the others' copies, and the one that is kept may not run on this CPU.
isa=$1
shift
[ $# -gt 0 ] || { echo "no objects given"; exit 1; }
symbols=$(nm -C --defined-only "$@") || exit 1
found=$(echo "$symbols" | grep -E '^[0-9a-f]+ [WVu] ' | grep -v "vantage::cpu::$isa::")
[ -z "$found" ] && exit 0
echo "weak symbols outside vantage::cpu::$isa:"
echo "$found" | sort | uniq -c
exit 1
