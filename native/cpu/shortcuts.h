// What need not be done in full for every tile, and what is asked for ahead: Step::tested and chooses, Code::may_be_single, Code::prefetched.
#pragma once
#include "code.h"

namespace vantage::cpu::VANTAGE_ISA {

void find_shortcuts(Code* code);

}  // namespace vantage::cpu::VANTAGE_ISA
