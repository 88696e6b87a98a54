// The table of one instruction set.
#include "compiled_scan.h"
#include "interpreter.h"
#include "kernel_table.h"

#define VANTAGE_STRING_OF(x) #x
#define VANTAGE_STRING(x) VANTAGE_STRING_OF(x)

namespace vantage::cpu::VANTAGE_ISA {

#define X(name, views, scalars, attributes) void name(const KernelCall& call);
VANTAGE_KERNELS(X)
#undef X

extern const KernelTable table = {
    VANTAGE_STRING(VANTAGE_ISA),
    CompiledScan::kExists,
    run_program,
    {
#define X(name, views, scalars, attributes) name,
        VANTAGE_KERNELS(X)
#undef X
    },
};

}  // namespace vantage::cpu::VANTAGE_ISA
