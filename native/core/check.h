// What every tuned kernel checks of its arguments. Compiled once: no code of an instruction set, no inline function.
#pragma once
#include <initializer_list>

#include "tensor_view.h"

namespace vantage {

constexpr unsigned bit(DType dtype) { return 1u << static_cast<int>(dtype); }
constexpr unsigned kComputed = bit(DType::f32) | bit(DType::f64);
constexpr unsigned kFloating = kComputed | bit(DType::bf16);

// Each throws vantage::Error naming the kernel, the argument, what was expected and what came.
void check_dtype(const char* kernel, const char* argument, const TensorView& view, unsigned allowed);
void check_shape(const char* kernel, const char* argument, const TensorView& view, std::initializer_list<int64_t> expected);
void check_shape_of(const char* kernel, const char* argument, const TensorView& view, const TensorView& model);
void check_ndim(const char* kernel, const char* argument, const TensorView& view, int low, int high);
// Of the model's dtype and shape.
void check_like(const char* kernel, const char* argument, const TensorView& view, const TensorView& model);
// uint8 or bool, of the model's shape.
void check_mask(const char* kernel, const char* argument, const TensorView& view, const TensorView& model);
// False where an argument [B,T] is left out: its shape is [0,0].
bool check_optional(const char* kernel, const char* argument, const TensorView& view, const TensorView& model);
// moments float64 [B,3] for a model of B rows. False where they are left out, if they may be: their shape is [0,3].
bool check_moments(const char* kernel, const TensorView& view, const TensorView& model, bool optional);
void check_contiguous(const char* kernel, const char* argument, const TensorView& view);
// Returns the scalar, which must be an integer in [low, high].
int64_t check_integer(const char* kernel, const char* argument, double value, int64_t low, int64_t high);

[[noreturn]] void fail_index(const char* kernel, const char* argument, int64_t index, int64_t position, int64_t limit);
[[noreturn]] void fail_text(const char* kernel, const char* text);
[[noreturn]] void fail_row(const char* kernel, const char* text, int64_t row);

}  // namespace vantage
