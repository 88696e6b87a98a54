// A plan: the programs and kernels of one evaluation, in order, with the buffers they use. TypeScript's scheduler writes it once as a flat
// array of numbers; it is checked here completely (ranges, counts, every view inside its slot) and can then be executed many times.
//
// Words (all numbers are doubles that must hold integers, attributes excepted):
//   version = 1, slots, scalars, arena bytes, records
//   slots ×   [bytes needed, arena offset or -1]        -1: an external buffer, given at execution in the order of the slots
//   records × [tag, words that follow, ...]
//     tag 0, a program: ndim, shape × ndim, outer, reduced, sequential, reverse, registers,
//                       views n, n × [slot, dtype, offset, strides × ndim],
//                       instructions n, n × [op, type, dst, a, b, c],
//                       outputs n, n × [reduction, type, register, view]
//     tag 1, a kernel:  kernel, views × [slot, dtype, offset, ndim, shape × ndim, strides × ndim], scalars × [index], attributes × [value]
// Arena slots share one block that is allocated for each execution; their offsets are multiples of 64.
#pragma once
#include <variant>
#include <vector>

#include "backend.h"

namespace vantage {

struct Slot {
  int64_t bytes;
  int64_t arena_offset;  // -1: external
};

struct KernelRecord {
  Kernel kernel;
  int slots[kMaxKernelViews];
  int64_t offsets[kMaxKernelViews];  // in elements
  TensorView views[kMaxKernelViews];
  int scalars[kMaxKernelScalars];
  double attributes[1];
};

enum class Use : uint8_t { none, reads, writes };

struct Plan {
  std::vector<Slot> slots;
  int external_slots = 0;
  std::vector<Use> external_use;  // of each external slot, in order, by the records
  int scalars = 0;
  int64_t arena_bytes = 0;
  std::vector<std::variant<Program, KernelRecord>> records;
};

// Throws vantage::Error, naming the word, what was expected and what came.
Plan read_plan(const double* words, size_t count);

struct ExternalBuffer {
  void* data;
  int64_t bytes;
  // The same memory is given for another slot that is used, too: then the plan may only read it.
  bool repeated = false;
};

// Checks the buffers against the plan, allocates the arena, runs every record. The work may not be done when this returns: reading a value waits for it.
void execute(const Plan& plan, Backend& backend, const ExternalBuffer* buffers, size_t buffer_count, const double* scalars,
             size_t scalar_count);

}  // namespace vantage
