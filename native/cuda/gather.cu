// gather along one axis, as torch.gather; an embedding is a gather of whole rows.
#include "../core/kernel_arguments.h"
#include "positions.h"
#include "report.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;

// x, index, out; x has no stride along the axis, `step` takes its place. `unit`: how many elements one of the positions is.
template <class U>
struct Gather {
  const U* x;
  const int32_t* index;
  U* out;
  int64_t step, limit, unit;
  Positions<3> positions;
  Report bad_index;
};

template <class U>
__global__ void __launch_bounds__(kThreads) gather_elements(const Gather<U> g) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= g.positions.size) return;
  int64_t offset[3];
  g.positions.offsets(i, offset);
  const int64_t index = g.index[offset[1]];
  if (index < 0 || index >= g.limit) {
    g.bad_index.index(index, i * g.unit, g.limit);
    return;
  }
  g.out[offset[2]] = g.x[offset[0] + index * g.step];
}

}  // namespace

void gather(const KernelCall& call) {
  check_arguments(call);
  TensorView x = call.views[0], out = call.views[2];
  const TensorView& index = call.views[1];
  const int axis = static_cast<int>(call.attributes[0]), last = index.ndim - 1;
  // One index for a whole line.
  const int64_t unit = axis != last && index.strides[last] == 0 ? unit_of({&x, &out}) : 1, limit = x.shape[axis];
  x = in_units(x, unit), out = in_units(out, unit);
  Positions<3> positions;
  for (int d = 0; d < index.ndim; ++d) positions.append(out.shape[d], {d == axis ? 0 : x.strides[d], index.strides[d], out.strides[d]});
  with_unit(unit * static_cast<int64_t>(byte_size(x.dtype)), [&](auto* type) {
    using U = std::remove_pointer_t<decltype(type)>;
    const Gather<U> g = {x.as<const U>(), index.as<const int32_t>(), out.as<U>(), x.strides[axis], limit, unit, positions, index_report("gather", "index")};
    launch("gather", gather_elements<U>, dim3(static_cast<unsigned>(ceil_div(positions.size, kThreads))), kThreads, 0, g);
  });
}

}  // namespace vantage::cuda
