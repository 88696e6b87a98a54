// Where the values of a program are needed: everywhere, or only where a mask of bytes is not 0, because every use ends in a `where` or a scan with that mask.
// There a `where` by the same mask says nothing, and where the mask holds nothing the value need not be computed.
#pragma once
#include "code.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int kEverywhere = -1, kNowhere = -2;

// demand[v]: the value of the mask, kEverywhere, or kNowhere for what nothing reads.
void find_demands(const Code& code, int* demand);

}  // namespace vantage::cpu::VANTAGE_ISA
