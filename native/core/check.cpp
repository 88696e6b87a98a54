#include "check.h"

#include <string>

#include "error.h"

namespace vantage {
namespace {

std::string text_of(const int64_t* shape, int ndim) {
  std::string text = "[";
  for (int d = 0; d < ndim; ++d) text += (d ? "," : "") + std::to_string(shape[d]);
  return text + "]";
}

void compare_shapes(const char* kernel, const char* argument, const TensorView& view, const int64_t* expected, int ndim) {
  bool equal = view.ndim == ndim;
  for (int d = 0; equal && d < ndim; ++d) equal = view.shape[d] == expected[d];
  if (equal) return;
  fail("%s: %s: expected shape %s, got %s", kernel, argument, text_of(expected, ndim).c_str(), text_of(view.shape, view.ndim).c_str());
}

}  // namespace

void check_dtype(const char* kernel, const char* argument, const TensorView& view, unsigned allowed) {
  if (allowed & bit(view.dtype)) return;
  std::string names;
  for (int i = 0; i < kDTypes; ++i) {
    if (allowed & (1u << i)) names += (names.empty() ? "" : " or ") + std::string(name_of(static_cast<DType>(i)));
  }
  fail("%s: %s: expected %s, got %s", kernel, argument, names.c_str(), name_of(view.dtype));
}

void check_shape(const char* kernel, const char* argument, const TensorView& view, std::initializer_list<int64_t> expected) {
  compare_shapes(kernel, argument, view, expected.begin(), static_cast<int>(expected.size()));
}

void check_shape_of(const char* kernel, const char* argument, const TensorView& view, const TensorView& model) {
  compare_shapes(kernel, argument, view, model.shape, model.ndim);
}

void check_ndim(const char* kernel, const char* argument, const TensorView& view, int low, int high) {
  if (view.ndim >= low && view.ndim <= high) return;
  const std::string shape = text_of(view.shape, view.ndim);
  if (low == high) fail("%s: %s: expected %d dimensions, got shape %s", kernel, argument, low, shape.c_str());
  fail("%s: %s: expected %d to %d dimensions, got shape %s", kernel, argument, low, high, shape.c_str());
}

void check_like(const char* kernel, const char* argument, const TensorView& view, const TensorView& model) {
  check_dtype(kernel, argument, view, bit(model.dtype));
  check_shape_of(kernel, argument, view, model);
}

void check_mask(const char* kernel, const char* argument, const TensorView& view, const TensorView& model) {
  check_dtype(kernel, argument, view, bit(DType::u8) | bit(DType::boolean));
  check_shape_of(kernel, argument, view, model);
}

bool check_optional(const char* kernel, const char* argument, const TensorView& view, const TensorView& model) {
  if (view.ndim == 2 && view.shape[0] == 0 && view.shape[1] == 0) return false;
  check_shape_of(kernel, argument, view, model);
  return true;
}

bool check_moments(const char* kernel, const TensorView& view, const TensorView& model, bool optional) {
  check_dtype(kernel, "moments", view, bit(DType::f64));
  if (optional && view.ndim == 2 && view.shape[0] == 0 && view.shape[1] == 3) return false;
  check_shape(kernel, "moments", view, {model.shape[0], 3});
  return true;
}

void check_contiguous(const char* kernel, const char* argument, const TensorView& view) {
  if (!view.contiguous() && view.size() > 0) {
    fail("%s: %s: expected a contiguous view, got shape %s with strides %s", kernel, argument, text_of(view.shape, view.ndim).c_str(),
         text_of(view.strides, view.ndim).c_str());
  }
}

int64_t check_integer(const char* kernel, const char* argument, double value, int64_t low, int64_t high) {
  if (value >= static_cast<double>(low) && value <= static_cast<double>(high) && value == static_cast<double>(static_cast<int64_t>(value))) {
    return static_cast<int64_t>(value);
  }
  fail("%s: %s: expected an integer in [%lld, %lld], got %g", kernel, argument, static_cast<long long>(low), static_cast<long long>(high), value);
}

void fail_index(const char* kernel, const char* argument, int64_t index, int64_t position, int64_t limit) {
  fail("%s: %s %lld at position %lld is outside [0, %lld)", kernel, argument, static_cast<long long>(index), static_cast<long long>(position),
       static_cast<long long>(limit));
}

void fail_text(const char* kernel, const char* text) { fail("%s: %s", kernel, text); }

void fail_row(const char* kernel, const char* text, int64_t row) { fail("%s: %s %lld", kernel, text, static_cast<long long>(row)); }

}  // namespace vantage
