#include "scan_tile.h"

#include <algorithm>
#include <cstring>

#include "mask_bytes.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
void spread(void* memory, int64_t n) {
  T* const out = static_cast<T*>(memory);
  const T one = out[0];
  for (int64_t i = 1; i < n; ++i) out[i] = one;
}

bool all_equal(const char* bytes, int64_t n) { return std::memcmp(bytes, bytes + 1, static_cast<size_t>(n - 1)) == 0; }

static_assert(kMostStretches > kMaxTile / kShortStretch);

}  // namespace

ScanTile::ScanTile(const Code& code, const CompiledScan& compiled, char* memory, int64_t ahead) : code_(code), compiled_(compiled), memory_(memory), ahead_(ahead), time_(code.space.outer), prefetches_(code.program->reverse) {
  code.place(memory, at_);
  for (int v = 0; v < code.values; ++v) tests_.of[v] = Truth::some, bytes_[v] = nullptr;
  for (int i = 0; i < code.steps; ++i) {
    const Step& step = code.step[i];
    if (step.op == Op::load && code.prefetched > 0 && stride_of(step.view) == 1) prefetched_ += code.item[step.view];
    if (step.dst >= 0) single_[step.dst] = step.op == Op::constant;
  }
}

void ScanTile::begin_row(int64_t row) {
  if (time_ == 1) {
    for (size_t v = 0; v < code_.program->views.size(); ++v) row_[v] = code_.base[v] + row * code_.space.strides[v][0] * code_.item[v];
    return;
  }
  Position position;
  Position::set(&position, code_.space, 0, time_, row);
  for (size_t v = 0; v < code_.program->views.size(); ++v) {
    row_[v] = code_.base[v] + Position::offset(position, code_.space, static_cast<int>(v), 0, time_) * code_.item[v];
  }
}

void ScanTile::run(int64_t start, int64_t n, const ScanStates& scans, char* lanes) {
  if (compiled_ && (scans.last < 0 || !scans.product)) {
    const CompiledScan::Wanted wanted = scans.last < 0 ? CompiledScan::Wanted::results : CompiledScan::Wanted::states;
    if (compiled_.run(wanted, row_, start, n, scans.state, scans.begins, memory_, lanes)) return;
  }
  const int64_t share = prefetched_ * n / code_.works + 64;
  stretched_ = inside_of_ = -1;
  bool in_place[kMaxOutputs];
  for (int k = 0; k < code_.outputs; ++k) {
    const Leave& out = code_.output[k];
    in_place[k] = out.direct && stride_of(out.view) == 1;
    if (out.direct) at_[out.value] = in_place[k] ? place_of(out.view, start) : memory_ + code_.home[out.value] * code_.home_bytes;
  }
  int scan = 0;
  for (int i = 0; i < code_.steps; ++i) {
    const Step& step = code_.step[i];
    if (step.op == Op::constant) continue;
    if (left_out(step, tests_)) {
      if (step.op == Op::load) ask_behind_mask(step, start, n);
      continue;
    }
    if (takes_time(step)) prefetches_.issue(share);
    if (step.op == Op::load) {
      load(step, start, n);
    } else if (is_scan(step)) {
      run_scan(step, scan, n, scans);
      if (scan++ == scans.last) break;
    } else {
      compute(step, n);
    }
  }
  for (int k = 0; k < code_.outputs && scans.last < 0; ++k) {
    prefetches_.issue(share);
    const Leave& out = code_.output[k];
    if (out.reduction != Reduction::store) {
      if (out.folds(k) && !out.watched) fold(k, at_[out.value], n, lanes);
    } else if (!in_place[k]) {
      store(out, start, n, lanes);
    }
  }
  prefetches_.finish();
}

void ScanTile::store(const Leave& out, int64_t start, int64_t n, char* lanes) const {
  const int64_t stride = stride_of(out.view);
  char* const to = place_of(out.view, start);
  const void* const value = at_[out.value];
  if (!out.stream || stride != 1) {
    out.store(to, value, 1, n, 0, stride);
    if (out.watcher >= 0) fold(out.watcher, value, n, lanes);
  } else if (out.watcher < 0) {
    stream_bytes(to, value, n * (out.type == RegisterType::f64 ? 8 : 4));
  } else if (!stream_finite(reinterpret_cast<float*>(to), static_cast<const float*>(value), n)) {
    const float odd = __builtin_nanf("");
    fold(out.watcher, &odd, 1, lanes);
  }
}

void ScanTile::ask_ahead(const Step& step, const char* from, int64_t n) {
  const int64_t item = code_.item[step.view];
  prefetches_.add(reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(ahead_ * item), n * item);
}

// What this tile does not need the next one may: its mask says so by either end.
void ScanTile::ask_behind_mask(const Step& step, int64_t start, int64_t n) {
  const uint8_t* const bytes = bytes_[step.guard];
  const int64_t next = start + ahead_;
  if (code_.prefetched == 0 || stride_of(step.view) != 1 || !bytes || next < 0 || next + n > code_.space.shape[time_]) return;
  if (bytes[ahead_] || bytes[ahead_ + n - 1]) ask_ahead(step, place_of(step.view, start), n);
}

void ScanTile::load(const Step& step, int64_t start, int64_t n) {
  const int64_t stride = stride_of(step.view);
  char* const from = place_of(step.view, start);
  if (code_.prefetched > 0 && stride == 1) ask_ahead(step, from, n);
  if (step.tested) {
    const uint8_t* const bytes = bytes_[step.dst] = stride == 1 ? reinterpret_cast<const uint8_t*>(from) : nullptr;
    const Held holds = bytes ? held(bytes, n) : Held{false, true};
    tests_.of[step.dst] = holds.all ? Truth::all : holds.any ? Truth::some : Truth::none;
    if (bytes && tests_.of[step.dst] == Truth::some) find_inside(step, bytes, n);
    if ((tests_.of[step.dst] != Truth::some || inside(step.dst)) && !step.valued) return;
  }
  if (step.in_place && stride == 1) {
    at_[step.dst] = from;
    return;
  }
  at_[step.dst] = code_.home_of(step, memory_);
  const bool single = code_.may_be_single[step.dst] && stride == 1 && all_equal(from, n);
  single_[step.dst] = single;
  step.load(at_[step.dst], from, 1, single ? 1 : n, 0, stride);
}

// One mask of a tile: the others are chosen by as they stand.
void ScanTile::find_inside(const Step& step, const uint8_t* mask, int64_t n) {
  if (inside_of_ >= 0) return;
  const Extent extent = extent_of(mask, n);
  if (!extent.dense) return;
  inside_of_ = step.dst;
  from_ = extent.from, to_ = extent.to;
}

// A `where` of the mask: its second operand inside, its third outside, both as they stand.
void ScanTile::choose_inside(const Step& step, int64_t n) {
  const int64_t size = step.size;
  char* const to = static_cast<char*>(at_[step.dst]);
  const char *const inner = static_cast<const char*>(at_[step.b]), *const other = static_cast<const char*>(at_[step.c]);
  std::memcpy(to, other, static_cast<size_t>(from_ * size));
  if (to != inner) std::memcpy(to + from_ * size, inner + from_ * size, static_cast<size_t>((to_ - from_) * size));
  std::memcpy(to + to_ * size, other + to_ * size, static_cast<size_t>((n - to_) * size));
}

void ScanTile::compute(const Step& step, int64_t n) {
  if (step.chooses) {
    if (tests_.of[step.a] != Truth::some) {
      at_[step.dst] = at_[tests_.of[step.a] == Truth::all ? step.b : step.c];
      return;
    }
    const bool within = inside(step.a);
    at_[step.dst] = within && step.over ? at_[step.b] : code_.home_of(step, memory_);
    if (within) return choose_inside(step, n);
  }
  if (code_.may_be_single[step.dst]) {
    const int operands[] = {step.a, step.b, step.c}, sizes[] = {step.step_a, step.step_b, step.step_c};
    const int arity = in_table(step.op) ? row_of(step.op).operands : 1;
    bool all = true;
    for (int k = 0; k < arity; ++k) all &= single_[operands[k]];
    single_[step.dst] = all;
    if (all) return run_step(step, at_, 1);
    for (int k = 0; k < arity; ++k) {
      const int value = operands[k];
      if (!code_.may_be_single[value] || !single_[value]) continue;
      sizes[k] == 8 ? spread<double>(at_[value], n) : spread<float>(at_[value], n);
      single_[value] = false;
    }
  }
  if (!inside(step.guard)) return run_step(step, at_, n);
  const auto operand = [&](int value, int size) { return value < 0 ? nullptr : static_cast<const char*>(at_[value]) + from_ * size; };
  step.run(to_ - from_, static_cast<char*>(at_[step.dst]) + from_ * step.size, operand(step.a, step.step_a), operand(step.b, step.step_b), operand(step.c, step.step_c));
}

void ScanTile::run_scan(const Step& step, int number, int64_t n, const ScanStates& scans) {
  const bool reverse = code_.program->reverse;
  double* const state = scans.state + number;
  const ScanFunctions& functions = scan_functions(step.type);
  if (scans.begins) {
    const int64_t first = reverse && !code_.uniform[step.c] ? n - 1 : 0;
    functions.initial(state, static_cast<const char*>(at_[step.c]) + first * step.size, 1, 0);
  }
  const Truth valid = step.chooses && step.mask >= 0 ? tests_.of[step.mask] : Truth::some;
  if (valid == Truth::none) {
    *static_cast<float*>(at_[step.dst]) = static_cast<float>(*state);  // scans with masks are of float32
    return spread<float>(at_[step.dst], n);
  }
  const bool uniform = step.type == RegisterType::f32 && single_[step.a];
  double* const product = number == scans.last ? scans.product : nullptr;
  Decay* const decay = decays_ + number % kDecays;
  if (valid == Truth::some && inside(step.mask)) {
    // Outside the state stays as it is.
    float *const out = static_cast<float*>(at_[step.dst]), *const first = reverse ? out + to_ : out, *const last = reverse ? out : out + to_;
    const int64_t first_count = reverse ? n - to_ : from_, last_count = reverse ? from_ : n - to_;
    if (!step.over) std::fill_n(first, first_count, static_cast<float>(*state));
    const float *const a = static_cast<const float*>(at_[step.a]) + (uniform ? 0 : from_), *const b = static_cast<const float*>(at_[step.b]) + from_;
    functions.scan_row({out + from_, a, b, nullptr, state, 1, to_ - from_, uniform, reverse, step.op == Op::scan_prev, nullptr, decay}, product);
    if (!step.over) std::fill_n(last, last_count, static_cast<float>(*state));
    return;
  }
  const bool masked = step.mask >= 0 && valid != Truth::all;
  const int32_t* const mask = masked ? static_cast<const int32_t*>(at_[step.mask]) : nullptr;
  if (masked && stretched_ != step.mask) {
    const uint8_t* const bytes = bytes_[step.mask];
    bytes ? find_stretches(stretches_, bytes, n, reverse) : find_stretches(stretches_, mask, n, reverse);
    stretched_ = step.mask;
  }
  functions.scan_row({at_[step.dst], at_[step.a], at_[step.b], mask, state, 1, n, uniform, reverse, step.op == Op::scan_prev, stretches_, decay}, product);
}

}  // namespace vantage::cpu::VANTAGE_ISA
