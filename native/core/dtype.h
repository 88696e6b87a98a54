// Element types, as they are stored and as a program computes with them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace vantage {

// The numbers are part of the boundary with TypeScript (src/tensor/dtype.ts).
enum class DType : int { f32 = 0, f64 = 1, bf16 = 2, i32 = 3, u8 = 4, boolean = 5 };
constexpr int kDTypes = 6;

// What a register of a program holds. bfloat16 is computed in float32; uint8 and bool in int32.
enum class RegisterType : int { f32 = 0, f64 = 1, i32 = 2 };
constexpr int kRegisterTypes = 3;

constexpr size_t byte_size(DType dtype) {
  switch (dtype) {
    case DType::f64: return 8;
    case DType::bf16: return 2;
    case DType::u8:
    case DType::boolean: return 1;
    default: return 4;
  }
}

constexpr const char* name_of(DType dtype) {
  constexpr const char* names[] = {"float32", "float64", "bfloat16", "int32", "uint8", "bool"};
  return names[static_cast<int>(dtype)];
}

}  // namespace vantage
