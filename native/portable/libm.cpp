// exp, log, log2 and pow as glibc had them before 2.29 (the same arithmetic; errors reported through errno in one more step). The linker's --wrap leads here.
#define VANTAGE_OLD(name)                          \
  asm(".symver old_" #name ", " #name "@GLIBC_2.2.5\n" \
      ".globl __wrap_" #name "\n"                  \
      ".hidden __wrap_" #name "\n"                 \
      ".type __wrap_" #name ", @function\n"        \
      "__wrap_" #name ": jmp old_" #name "@PLT\n")
VANTAGE_OLD(exp);
VANTAGE_OLD(log);
VANTAGE_OLD(log2);
VANTAGE_OLD(pow);
