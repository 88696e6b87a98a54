#include "compiled_scan.h"

#include "stream.h"

namespace vantage::cpu::VANTAGE_ISA {

#if defined(__AVX512F__)

namespace {

constexpr int64_t kMaskAhead = 4096;  // bytes of the mask that are asked for ahead of their use

// n times `value`, by lines of the cache: the first and the last one may belong to others in part.
void fill(float* to, int64_t n, float value, bool past_caches) {
  const __m512 values = _mm512_set1_ps(value);
  const int64_t before = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) / sizeof(float) % kStepsOfVector);
  float* const lines = to - before;
  int64_t i = before, end = before + n;
  const auto part = [&](int64_t line, int64_t first, int64_t last) {
    _mm512_mask_storeu_ps(lines + line, static_cast<__mmask16>((0xffffu >> (kStepsOfVector - (last - line))) & (0xffffu << (first - line))), values);
  };
  if (before > 0) part(0, i, end < kStepsOfVector ? end : kStepsOfVector), i = kStepsOfVector;
  for (; i + kStepsOfVector <= end; i += kStepsOfVector) past_caches ? _mm512_stream_ps(lines + i, values) : _mm512_storeu_ps(lines + i, values);
  if (i < end) part(i, i, end);
}

}  // namespace

CompiledScan::CompiledScan(const Code& code) : code_(code) {
  ScanSource source;
  if (!read_scan(code, &plan_, &table_, &source)) return;
  if (!usual_.make(source, false)) return;
  if (code.streams) past_caches_.make(source, true);
  source.stores = source.watched = 0;
  only_states_.make(source, false);
}

// Where in a tile the function may run. Padding leaves one stretch of a row, what others wrote between turns a few. 0: nowhere, or in more than are worth it.
int CompiledScan::find_stretches(Wanted wanted, char* const* row, int64_t start, int64_t n, Stretches* to) const {
  to->from[0] = 0, to->to[0] = n;
  if (plan_.mask < 0) return 1;
  const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(row[plan_.mask]) + start;
  const intptr_t ahead = code_.program->reverse ? -kMaskAhead : kMaskAhead;
  uint64_t before = 0;
  int count = 0;  // of ends: from, to, from …
  int64_t ends[2 * kMostStretches + 1];
  for (int64_t i = 0; i < n; i += 64) {
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(bytes) + i + ahead));
    const uint64_t lanes = n - i < 64 ? ~(~uint64_t{0} << (n - i)) : ~uint64_t{0};
    const __m512i some = _mm512_maskz_loadu_epi8(lanes, bytes + i);
    const uint64_t valid = _mm512_test_epi8_mask(some, some);
    for (uint64_t changes = valid ^ (valid << 1 | before); changes != 0; changes &= changes - 1) {
      if (count == 2 * kMostStretches) return 0;
      ends[count++] = i + __builtin_ctzll(changes);
    }
    before = valid >> 63;
  }
  if (count % 2 == 1) ends[count++] = n;
  else if (count > 0 && ends[count - 1] > n) ends[count - 1] = n;
  const int stretches = count / 2;
  if (stretches == 0 || stretches > 1 + n / kStepsOfStretch) return 0;
  if (wanted == Wanted::results && !plan_.knows_outside && (stretches > 1 || ends[0] > 0 || ends[1] < n)) return 0;
  for (int k = 0; k < stretches; ++k) to->from[k] = ends[2 * k], to->to[k] = ends[2 * k + 1];
  return stretches;
}

bool CompiledScan::forgets(char* const* row, int64_t start, int64_t n) const {
  if (plan_.mask < 0 || plan_.reach > n) return plan_.reach <= n;
  int64_t valid = 0;
  const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(row[plan_.mask]) + start;
  for (int64_t i = 0; i < n; ++i) valid += bytes[i] != 0;
  return plan_.reach <= valid;
}

// The states in front of a row, whose first step is `first`.
void CompiledScan::begin(char* const* row, int64_t first, double* state) const {
  for (int s = 0; s < plan_.scans; ++s) {
    state[s] = plan_.initial[s];
    if (plan_.initial_step[s] < 0) continue;
    const Step& step = code_.step[plan_.initial_step[s]];
    float number;
    step.load(&number, row[step.view] + first * code_.space.strides[step.view][time()] * code_.item[step.view], 1, 1, 0, 0);
    state[s] = static_cast<double>(number);
  }
}

// Whether what goes past the caches begins with a line.
bool CompiledScan::on_lines(char* const* row, int64_t at) const {
  for (int k = 0; k < plan_.exits; ++k) {
    if (plan_.exit[k].streams && reinterpret_cast<uintptr_t>(place_of(row, plan_.exit[k].array, at)) % 64 != 0) return false;
  }
  return true;
}

bool CompiledScan::run(Wanted wanted, char* const* row, int64_t start, int64_t n, double* state, bool begins, char* memory, char* lanes) const {
  Stretches valid;
  const int stretches = find_stretches(wanted, row, start, n, &valid);
  if (stretches == 0) return false;
  ScanFrame frame;
  frame.table = &table_;
  if (begins) begin(row, code_.program->reverse ? start + n - 1 : start, frame.state);
  else
    for (int s = 0; s < plan_.scans; ++s) frame.state[s] = state[s];
  for (int k = 0; k < plan_.of_row; ++k) {
    const Step& step = code_.step[plan_.of_row_step[k]];
    step.load(&frame.of_row[k], row[step.view], 1, 1, 0, 0);
  }
  const int exits = wanted == Wanted::results ? plan_.exits : 0;
  bool past = exits > 0 && past_caches_;
  for (int i = 0; i < stretches && past; ++i) past = on_lines(row, start + valid.from[i]);
  float* results[kMostStores];  // of the tile
  for (int k = 0; k < exits; ++k) {
    const ScanPlan::Exit& exit = plan_.exit[k];
    results[k] = reinterpret_cast<float*>(exit.direct && (past || !exit.streams) ? place_of(row, exit.array, start) : memory + exit.home);
  }
  uint16_t odd[1 + kMostWatched] = {};
  for (int i = 0; i < stretches; ++i) {
    const int stretch = code_.program->reverse ? stretches - 1 - i : i;
    const int64_t from = valid.from[stretch];
    frame.n = valid.to[stretch] - from;
    for (int k = 0; k < plan_.loads; ++k) frame.pointer[k] = place_of(row, plan_.load[k], start + from);
    for (int k = 0; k < exits; ++k) frame.pointer[plan_.loads + k] = reinterpret_cast<char*>(results[k] + from);
    (exits == 0 ? only_states_ : past ? past_caches_ : usual_)(&frame);
    if (frame.odd[0]) return false;
    for (int k = 1; k <= plan_.watched && exits > 0; ++k) odd[k] |= frame.odd[k];
  }
  for (int s = 0; s < plan_.scans; ++s) state[s] = frame.state[s];
  for (int k = 0, watched = 0; k < exits; ++k) {
    const ScanPlan::Exit& exit = plan_.exit[k];
    const float nan = __builtin_nanf("");
    if (exit.watched >= 0 && odd[++watched]) fold(exit.watched, &nan, 1, lanes);
    int64_t done = 0;
    for (int i = 0; i <= stretches; ++i) {
      const int64_t next = i < stretches ? valid.from[i] : n;
      if (next > done) fill(results[k] + done, next - done, exit.outside, past && exit.streams);
      if (i < stretches) done = valid.to[i];
    }
    if (exit.direct && (past || !exit.streams)) continue;
    const Leave& out = code_.output[exit.output];
    if (out.reduction != Reduction::store) fold(exit.output, results[k], n, lanes);
    else if (exit.direct) stream_bytes(place_of(row, exit.array, start), results[k], n * 4);
    else out.store(place_of(row, exit.array, start), results[k], 1, n, 0, code_.space.strides[out.view][time()]);
  }
  return true;
}

#else

CompiledScan::CompiledScan(const Code& code) : code_(code) {}
bool CompiledScan::run(Wanted, char* const*, int64_t, int64_t, double*, bool, char*, char*) const { return false; }
bool CompiledScan::forgets(char* const*, int64_t, int64_t) const { return false; }

#endif

}  // namespace vantage::cpu::VANTAGE_ISA
