// The table instructions of program.h as loops over registers.
#pragma once
#include <cstdint>

#include "../core/program.h"

namespace vantage::cpu::VANTAGE_ISA {

// dst may be the same memory as an operand of the same element size, and overlaps none otherwise.
using ElementFunction = void (*)(int64_t n, void* dst, const void* a, const void* b, const void* c);

// Which of an instruction's last two operands are one value instead of n. Both at once is not provided.
enum Uniform : int { kNoUniform = 0, kFirstUniform = 1, kSecondUniform = 2, kUniformVariants = 3 };

// Null where the instruction has no such variant.
ElementFunction element_function(Op op, RegisterType type, Uniform uniform);
ElementFunction cast_function(RegisterType from, RegisterType to);

constexpr bool in_table(Op op) { return static_cast<int>(op) >= kFirstInstruction; }

}  // namespace vantage::cpu::VANTAGE_ISA
