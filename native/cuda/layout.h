// How a program is walked on the device: its dimensions merged, its views' strides, and the launch. It depends on the program alone, so that sums have
// the same order whoever runs them.
#pragma once
#include <array>
#include <vector>

#include "../core/program.h"
#include "geometry.h"

namespace vantage::cuda {

struct LaidView {
  int64_t offset;  // in elements, of the first element that is walked
  int64_t strides[kMaxDims];
  // Chunks are whole pieces of memory where the first one is aligned to `alignment` bytes (0: never); backward ones end there.
  int alignment;
};

struct Layout {
  Walk walk;
  int team;  // threads of a row
  int dims, outer, reduced;  // numbers of dimensions; the rest are kept
  int64_t shape[kMaxDims];
  std::vector<LaidView> views;
  int scans = 0, states = 0, folds = 0;
  bool loops = false;
  bool narrow = false;  // 32 bits hold every position in the index space and in the views
  Geometry geometry;  // but for the pointers
  int64_t blocks;

  int items() const { return items_of(walk, scans > 0); }
  // A view's way along the last dimension, as it is read or written.
  Access read_access(int view) const;
  Access write_access(int view) const;
  OutputInfo output(const Program& program, int k) const;
  // What a thread keeps: totals, then the states of scans and of loops.
  int slots() const { return folds * (walk == Walk::columns ? items() : 1) + scans + states; }
};

// A reverse program is walked forwards: its views are turned round.
Layout lay_out(const Program& program);

// The address of each view's first element in `base`, and in `aligned` a bit for each view whose chunks are whole pieces of memory. Returns whether
// they are in all that move along the last dimension by single elements.
bool set_addresses(const Program& program, const Layout& layout, void* const* slots, char** base, unsigned long long* aligned);

}  // namespace vantage::cuda
