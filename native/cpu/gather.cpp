// gather and its transpose scatter_add along one axis, as torch.gather and torch.scatter_add; an embedding is a gather of whole rows.
#include "../core/check.h"
#include "../core/kernels.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// Offsets of a line (all dimensions but the last) in the views that share the index's shape; the axis is left out of `along`, the tensor that
// is indexed, unless it is the last.
struct Line {
  int64_t index, shaped, along;
};

struct Lines {
  const TensorView &index, &shaped, &along;
  int axis, last;
  int64_t count, length;

  Line at(int64_t line) const {
    Line at{0, 0, 0};
    for (int d = last - 1; d >= 0; --d) {
      const int64_t i = line % index.shape[d];
      line /= index.shape[d];
      at.index += i * index.strides[d];
      at.shaped += i * shaped.strides[d];
      if (d != axis) at.along += i * along.strides[d];
    }
    return at;
  }
};

Lines lines_of(const TensorView& index, const TensorView& shaped, const TensorView& along, int axis) {
  const int last = index.ndim - 1;
  Lines lines{index, shaped, along, axis, last, 1, index.shape[last]};
  for (int d = 0; d < last; ++d) lines.count *= index.shape[d];
  return lines;
}

VANTAGE_INLINE int64_t checked(const char* kernel, int64_t index, int64_t position, int64_t limit) {
  if (index < 0 || index >= limit) fail_index(kernel, "index", index, position, limit);
  return index;
}

template <class T>
VANTAGE_INLINE void gather_line(const Lines& lines, int64_t line) {
  const Line at = lines.at(line);
  const int32_t* index = lines.index.as<const int32_t>() + at.index;
  const T* x = lines.along.as<const T>() + at.along;
  T* out = lines.shaped.as<T>() + at.shaped;
  const int64_t n = lines.length, first = line * n, limit = lines.along.shape[lines.axis], step = lines.along.strides[lines.axis];
  const int64_t index_stride = lines.index.strides[lines.last], out_stride = lines.shaped.strides[lines.last];
  const int64_t x_stride = lines.axis == lines.last ? 0 : lines.along.strides[lines.last];
  if (n > 0 && index_stride == 0) {
    // One index for the whole line: an embedding.
    x += checked("gather", index[0], first, limit) * step;
    if (x_stride == 1 && out_stride == 1) {
      __builtin_memcpy(out, x, static_cast<size_t>(n) * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) out[i * out_stride] = x[i * x_stride];
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) out[i * out_stride] = x[i * x_stride + checked("gather", index[i * index_stride], first + i, limit) * step];
}

template <class T>
void gather_lines(const Lines& lines) {
  const int64_t group = larger<int64_t>(1, 8192 / (lines.length + 1));
  parallel_for(ceil_div(lines.count, group), lines.count * lines.length, [&](int64_t task) {
    for (int64_t line = task * group; line < smaller(lines.count, (task + 1) * group); ++line) gather_line<T>(lines, line);
  });
}

void check_indices(const char* kernel, const Lines& lines) {
  const int64_t stride = lines.index.strides[lines.last], limit = lines.along.shape[lines.axis];
  for (int64_t line = 0; line < lines.count; ++line) {
    const int32_t* index = lines.index.as<const int32_t>() + lines.at(line).index;
    for (int64_t i = 0; i < (stride == 0 ? smaller<int64_t>(1, lines.length) : lines.length); ++i) {
      checked(kernel, index[i * stride], line * lines.length + i, limit);
    }
  }
}

// The last dimension of a view is cut to [from, from + count).
TensorView narrowed(const TensorView& view, int dim, int64_t from, int64_t count) {
  TensorView part = view;
  part.data = view.as<char>() + from * view.strides[dim] * static_cast<int64_t>(byte_size(view.dtype));
  part.shape[dim] = count;
  return part;
}

template <class T>
void set_zero(const TensorView& out) {
  int64_t lines = 1;
  const int last = out.ndim - 1;
  for (int d = 0; d < last; ++d) lines *= out.shape[d];
  for (int64_t line = 0; line < lines; ++line) {
    int64_t offset = 0, rest = line;
    for (int d = last - 1; d >= 0; rest /= out.shape[d], --d) offset += rest % out.shape[d] * out.strides[d];
    T* to = out.as<T>() + offset;
    for (int64_t i = 0; i < out.shape[last]; ++i) to[i * out.strides[last]] = 0;
  }
}

template <class T, class From>
void scatter_lines(const Lines& lines) {
  const int64_t index_stride = lines.index.strides[lines.last], src_stride = lines.shaped.strides[lines.last];
  const int64_t step = lines.along.strides[lines.axis];
  if (lines.length == 0) return;
  const int64_t out_stride = lines.axis == lines.last ? 0 : lines.along.strides[lines.last];
  for (int64_t line = 0; line < lines.count; ++line) {
    const Line at = lines.at(line);
    const int32_t* index = lines.index.as<const int32_t>() + at.index;
    const From* src = lines.shaped.as<const From>() + at.shaped;
    T* out = lines.along.as<T>() + at.along;
    if (index_stride == 0 && out_stride == 1 && src_stride == 1) {
      out += index[0] * step;
      for (int64_t i = 0; i < lines.length; ++i) out[i] += convert<T>(src[i]);
    } else {
      for (int64_t i = 0; i < lines.length; ++i) out[i * out_stride + index[i * index_stride] * step] += convert<T>(src[i * src_stride]);
    }
  }
}

// Sums meet only where all other coordinates are equal: the widest of the other dimensions is cut among the threads, and each adds in order.
template <class T, class From>
void scatter(const Lines& lines) {
  int widest = lines.axis == 0 ? lines.last : 0;
  for (int d = 0; d <= lines.last; ++d) {
    if (d != lines.axis && lines.index.shape[d] > lines.index.shape[widest]) widest = d;
  }
  const bool alone = widest == lines.axis;
  const int64_t extent = alone ? 1 : lines.index.shape[widest];
  const int64_t piece = alone ? 1 : larger<int64_t>(16, ceil_div(extent, 16));
  parallel_for(ceil_div(extent, piece), lines.count * lines.length + lines.along.size(), [&](int64_t task) {
    const int64_t from = task * piece, count = smaller(piece, extent - from);
    const auto part = [&](const TensorView& view) { return alone ? view : narrowed(view, widest, from, count); };
    const TensorView index = part(lines.index), src = part(lines.shaped), out = part(lines.along);
    set_zero<T>(out);
    scatter_lines<T, From>(lines_of(index, src, out, lines.axis));
  });
}

}  // namespace

void gather(const KernelCall& call) {
  const TensorView &x = call.views[0], &index = call.views[1], &out = call.views[2];
  const Lines lines = lines_of(index, out, x, static_cast<int>(call.attributes[0]));
  switch (byte_size(x.dtype)) {
    case 1: return gather_lines<uint8_t>(lines);
    case 2: return gather_lines<uint16_t>(lines);
    case 8: return gather_lines<uint64_t>(lines);
    default: return gather_lines<uint32_t>(lines);
  }
}

void scatter_add(const KernelCall& call) {
  const TensorView &index = call.views[0], &src = call.views[1], &out = call.views[2];
  const Lines lines = lines_of(index, src, out, static_cast<int>(call.attributes[0]));
  check_indices("scatter_add", lines);
  switch (src.dtype) {
    case DType::f64: return scatter<double, double>(lines);
    case DType::bf16: return scatter<float, bf16>(lines);
    case DType::i32: return scatter<int32_t, int32_t>(lines);
    default: return scatter<float, float>(lines);
  }
}

}  // namespace vantage::cpu::VANTAGE_ISA
