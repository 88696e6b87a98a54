#include "device.h"

namespace vantage::cuda {
namespace {

bool along_memory(const TensorView& view, int phase) {
  const size_t size = byte_size(view.dtype), alignment = size >= 4 ? 16 : 4 * size;
  const bool neighbours = view.strides[1] == 1 || view.shape[1] == 1;
  return neighbours && reinterpret_cast<uintptr_t>(view.data) % alignment == 0 && (view.shape[0] == 1 || (view.strides[0] & 3) == phase);
}

}  // namespace

TensorView flat(const TensorView& view) {
  TensorView row = view;
  row.ndim = 2;
  row.shape[0] = 1, row.shape[1] = view.size();
  row.strides[0] = row.shape[1], row.strides[1] = 1;
  return row;
}

Fours fours_of(const TensorView& first, std::initializer_list<const TensorView*> others) {
  const int phase = first.shape[0] == 1 ? 0 : static_cast<int>(first.strides[0] & 3);
  bool along = along_memory(first, phase);
  for (const TensorView* view : others) along = along && (view->size() == 0 || along_memory(*view, phase));
  return {first.shape[0], first.shape[1], along ? phase : 0, along};
}

}  // namespace vantage::cuda
