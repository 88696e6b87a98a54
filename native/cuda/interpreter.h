// A program as the interpreter kernels take it.
#pragma once
#include "../core/tensor_view.h"
#include "geometry.h"

namespace vantage::cuda {

constexpr int kMaxInterpreterViews = 128;
constexpr int kInlineScalars = 256;
constexpr int kScalarOperand = 0x8000;  // an operand with this bit is a run-time scalar, otherwise a home

// An instruction. Values live in homes, pieces of the block's memory; values whose lives do not overlap share one.
struct alignas(16) Packed {
  uint8_t op, type, source, access;  // source: the dtype of a load, the register type of a cast's operand
  uint16_t dst, a, b, c;
  uint16_t block;   // loop: the instructions that follow in its block, its states included
  uint16_t number;  // load: the view; scan, state: its number among them
};

struct Script {
  const Packed* code;
  const OutputInfo* outputs;
  const uint16_t* output_values;
  const long long* shape;    // [kMaxDims], the dimensions last
  const long long* strides;  // [view][kMaxDims]
  int instructions, output_count, folds, scans;
  int first_dim, outer, reduced;  // outer: the end of the outer dimensions
  int slots;       // of a thread
  int home_bytes;  // of one element
};

// The one parameter of an interpreter kernel. At most 4,096 bytes.
struct Interpretation {
  Script script;
  Geometry geometry;
  unsigned long long aligned[2];  // a bit for each view: whole chunks of it may be moved at once
  char* homes;                    // null: they are in shared memory
  long long homes_bytes;          // of a block
  const Slot* many_scalars;       // null: they are here
  char* base[kMaxInterpreterViews];
  Slot scalars[kInlineScalars];
};
static_assert(sizeof(Interpretation) <= 4096);

// What a block's skeletons and reductions need of shared memory at most, besides the homes.
constexpr size_t kOwnShared = 12 * 1024;

// How many blocks whose homes are elsewhere the device has at a time.
int64_t resident_interpreters(Walk walk, int team, bool scans);

// `shared`: bytes of shared memory, 0 where the homes are elsewhere. With fewer blocks than the layout has, those go on with what is left.
void launch_interpreter(const Interpretation& launch, Walk walk, int team, long long blocks, size_t shared);

}  // namespace vantage::cuda
