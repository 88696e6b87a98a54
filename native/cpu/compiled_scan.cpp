#include "compiled_scan.h"

#include "interpreter.h"
#include "stream.h"

namespace vantage::cpu::VANTAGE_ISA {

#if defined(__AVX512F__)

namespace {

constexpr int64_t kMaskBytesAhead = 4096;  // bytes of the mask that are asked for ahead of their use

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

char* place_of(char* const* row, const ScanPlan::Array& array, int64_t at) { return row[array.view] + at * array.bytes; }

// Whether what goes past the caches begins with a line.
bool on_lines(const ScanPlan& plan, char* const* row, int64_t at) {
  for (int k = 0; k < plan.exits; ++k) {
    if (plan.exit[k].streams && reinterpret_cast<uintptr_t>(place_of(row, plan.exit[k].array, at)) % 64 != 0) return false;
  }
  return true;
}

}  // namespace

void CompiledFunctions::make(const Code& code, Reading reading, bool states) {
  ScanSource source;
  if (!read_scan(code, reading, &plan, &table, &source) || !usual.make(source, false)) return;
  if (code.streams) past_caches.make(source, true);
  source.stores = source.watched = 0;
  if (states) only_states.make(source, false);
}

CompiledScan::CompiledScan(const Code& code, bool segments) : code_(code) {
  some_.make(code, Reading::where_mask_holds, segments);
  if (!some_ || !some_.plan.varies) return;
  ones_.make(code, Reading::where_all_hold, segments);
  ones_help_ = ones_ && ones_.plan.bytes > 0 && !ones_.plan.varies;
}

// Whether all bytes that are loaded are 1.
bool CompiledScan::all_hold(const Tile& tile) const {
  if (!ones_help_) return false;
  const __m512i one = _mm512_set1_epi8(1);
  for (int k = 0; k < ones_.plan.bytes; ++k) {
    const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(tile.row[ones_.plan.byte_view[k]]) + tile.start;
    const intptr_t ahead = code_.program->reverse ? -kMaskBytesAhead : kMaskBytesAhead;
    for (int64_t i = 0; i < tile.n; i += 64) {
      __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(bytes) + i + ahead));
      const uint64_t lanes = tile.n - i < 64 ? ~(~uint64_t{0} << (tile.n - i)) : ~uint64_t{0};
      if (_mm512_mask_cmpneq_epi8_mask(lanes, _mm512_maskz_loadu_epi8(lanes, bytes + i), one) != 0) return false;
    }
  }
  return true;
}

const CompiledFunctions& CompiledScan::everywhere() const {
  uint32_t nobody = 0;
  constexpr uint32_t kMaking = 1, kMade = 2;
  if (__atomic_load_n(&all_state_, __ATOMIC_ACQUIRE) == kMade) return all_;
  if (__atomic_compare_exchange_n(&all_state_, &nobody, kMaking, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
    try {
      all_.make(code_, Reading::everywhere, static_cast<bool>(some_.only_states));
    } catch (...) {
      __atomic_store_n(&all_state_, kMade, __ATOMIC_RELEASE);
      throw;
    }
    __atomic_store_n(&all_state_, kMade, __ATOMIC_RELEASE);
  }
  while (__atomic_load_n(&all_state_, __ATOMIC_ACQUIRE) != kMade) __builtin_ia32_pause();
  return all_;
}

// Padding leaves one stretch of a row, what others wrote between turns a few.
CompiledScan::Found CompiledScan::find_pieces(Wanted wanted, const Tile& tile, Pieces* to) const {
  const ScanPlan& plan = some_.plan;
  const int64_t n = tile.n;
  *to = {1, {0}, {n}};
  if (plan.mask < 0) return Found::pieces;
  const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(tile.row[plan.mask]) + tile.start;
  const intptr_t ahead = code_.program->reverse ? -kMaskBytesAhead : kMaskBytesAhead;
  uint64_t before = 0;
  int count = 0;  // of ends: from, to, from …
  int64_t ends[2 * kMostPieces + 1];
  for (int64_t i = 0; i < n; i += 64) {
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(bytes) + i + ahead));
    const uint64_t lanes = n - i < 64 ? ~(~uint64_t{0} << (n - i)) : ~uint64_t{0};
    const __m512i some = _mm512_maskz_loadu_epi8(lanes, bytes + i);
    const uint64_t valid = _mm512_test_epi8_mask(some, some);
    for (uint64_t changes = valid ^ (valid << 1 | before); changes != 0; changes &= changes - 1) {
      if (count == 2 * kMostPieces) return Found::too_many;
      ends[count++] = i + __builtin_ctzll(changes);
    }
    before = valid >> 63;
  }
  if (count % 2 == 1) ends[count++] = n;
  to->count = count / 2;
  for (int k = 0; k < to->count; ++k) to->from[k] = ends[2 * k], to->to[k] = ends[2 * k + 1];
  if (count == 0) return Found::nothing;
  const bool whole = to->count == 1 && to->from[0] == 0 && to->to[0] == n;
  if (wanted == Wanted::results && !plan.knows_outside && !whole) return Found::elsewhere;
  return to->count > 1 + n / kStepsOfPiece ? Found::too_many : Found::pieces;
}

bool CompiledScan::forgets(int scan, char* const* row, int64_t start, int64_t n) const {
  const ScanPlan& plan = some_.plan;
  const int64_t reach = plan.reach[scan];
  if (!some_.only_states || plan.mask < 0 || reach > n) return some_.only_states && reach <= n;
  int64_t valid = 0;
  const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(row[plan.mask]) + start;
  for (int64_t i = 0; i < n; ++i) valid += bytes[i] != 0;
  return reach <= valid;
}

// The states in front of a row, of which the tile is the first.
void CompiledScan::begin(const ScanPlan& plan, const Tile& tile, double* state) const {
  const int64_t first = code_.program->reverse ? tile.start + tile.n - 1 : tile.start;
  for (int s = 0; s < plan.scans; ++s) {
    state[s] = plan.initial[s];
    if (plan.initial_step[s] < 0) continue;
    const Step& step = code_.step[plan.initial_step[s]];
    float number;
    step.load(&number, tile.row[step.view] + first * code_.space.strides[step.view][time()] * code_.item[step.view], 1, 1, 0, 0);
    state[s] = static_cast<double>(number);
  }
}

bool CompiledScan::run(Wanted wanted, char* const* row, int64_t start, int64_t n, double* state, bool begins, char* memory, char* lanes) const {
  const Tile tile = {row, start, n, memory, lanes};
  Pieces valid = {1, {0}, {n}};
  if (all_hold(tile)) return run(ones_, wanted, tile, valid, state, begins);
  const Found found = find_pieces(wanted, tile, &valid);
  if (found == Found::pieces) return run(some_, wanted, tile, valid, state, begins);
  if (found != Found::too_many) return false;
  valid = {1, {0}, {n}};
  return everywhere() && run(everywhere(), wanted, tile, valid, state, begins);
}

bool CompiledScan::run(const CompiledFunctions& functions, Wanted wanted, const Tile& tile, const Pieces& valid, double* state, bool begins) const {
  const ScanPlan& plan = functions.plan;
  const bool reverse = code_.program->reverse;
  const int exits = wanted == Wanted::results ? plan.exits : 0;
  bool past = exits > 0 && functions.past_caches;
  for (int i = 0; i < valid.count && past; ++i) past = on_lines(plan, tile.row, tile.start + valid.from[i]);
  const ScanFunction& function = exits == 0 ? functions.only_states : past ? functions.past_caches : functions.usual;
  if (!function) return false;
  ScanFrame frame;
  frame.table = &functions.table;
  // What comes in infinite stays so, most often: there is nothing to gain.
  if (begins) begin(plan, tile, frame.state);
  else
    for (int s = 0; s < plan.scans; ++s) frame.state[s] = state[s];
  for (int s = 0; s < plan.scans; ++s) {
    if (frame.state[s] - frame.state[s] != 0) return false;
  }
  for (int k = 0; k < plan.of_row; ++k) {
    const Step& step = code_.step[plan.of_row_step[k]];
    step.load(&frame.of_row[k], tile.row[step.view], 1, 1, 0, 0);
  }
  float* results[kMostStores];  // of the tile
  for (int k = 0; k < exits; ++k) {
    const ScanPlan::Exit& exit = plan.exit[k];
    results[k] = reinterpret_cast<float*>(exit.direct && (past || !exit.streams) ? place_of(tile.row, exit.array, tile.start) : tile.memory + exit.home);
  }
  const auto fill_gap = [&](int64_t from, int64_t to) {
    for (int k = 0; k < exits && from < to; ++k) {
      const ScanPlan::Exit& exit = plan.exit[k];
      fill(results[k] + from, to - from, exit.state < 0 ? exit.outside : static_cast<float>(frame.state[exit.state]), past && exit.streams);
    }
  };
  uint16_t odd[1 + kMostWatched] = {};
  reverse ? fill_gap(valid.to[valid.count - 1], tile.n) : fill_gap(0, valid.from[0]);
  for (int i = 0; i < valid.count; ++i) {
    const int piece = reverse ? valid.count - 1 - i : i;
    const int64_t from = valid.from[piece], to = valid.to[piece];
    frame.n = to - from;
    for (int k = 0; k < plan.loads; ++k) frame.pointer[k] = place_of(tile.row, plan.load[k], tile.start + from);
    for (int k = 0; k < exits; ++k) frame.pointer[plan.loads + k] = reinterpret_cast<char*>(results[k] + from);
    function(&frame);
    if (frame.odd[0]) return false;
    for (int k = 1; k <= plan.watched && exits > 0; ++k) odd[k] |= frame.odd[k];
    const bool last = i + 1 == valid.count;
    reverse ? fill_gap(last ? 0 : valid.to[piece - 1], from) : fill_gap(to, last ? tile.n : valid.from[piece + 1]);
  }
  for (int s = 0; s < plan.scans; ++s) state[s] = frame.state[s];
  for (int k = 0, watched = 0; k < exits; ++k) {
    const ScanPlan::Exit& exit = plan.exit[k];
    const float nan = __builtin_nanf("");
    if (exit.watched >= 0 && odd[++watched]) fold(exit.watched, &nan, 1, tile.lanes);
    if (exit.direct && (past || !exit.streams)) continue;
    const Leave& out = code_.output[exit.output];
    if (out.reduction != Reduction::store) fold(exit.output, results[k], tile.n, tile.lanes);
    else if (exit.direct) stream_bytes(place_of(tile.row, exit.array, tile.start), results[k], tile.n * 4);
    else out.store(place_of(tile.row, exit.array, tile.start), results[k], 1, tile.n, 0, code_.space.strides[out.view][time()]);
  }
  return true;
}

CompiledRows::CompiledRows(const Code& code) : code_(code) {
  if (code.space.reduced > 0) functions_.make(code, Reading::short_rows, false);
}

bool CompiledRows::run(int64_t first, int64_t rows) const {
  const ScanPlan& plan = functions_.plan;
  const int outer = code_.space.outer;  // one, or none where there is one row
  const auto row_bytes = [&](int view) { return outer > 0 ? code_.space.strides[view][0] * code_.item[view] : 0; };
  ScanFrame frame;
  frame.table = &functions_.table;
  frame.n = code_.space.shape[outer];
  frame.rows = rows;
  bool past = static_cast<bool>(functions_.past_caches);
  for (int k = 0; k < plan.loads + plan.exits; ++k) {
    const bool leaves = k >= plan.loads;
    const ScanPlan::Array& array = leaves ? plan.exit[k - plan.loads].array : plan.load[k];
    const int64_t bytes = frame.row_bytes[k] = row_bytes(array.view);
    char* const from = code_.base[array.view] + first * bytes + array.offset;
    for (int u = 0; u < kMostSideBySide; ++u) frame.pointer[k * kMostSideBySide + u] = from + u * bytes;
    past = past && (!leaves || !plan.exit[k - plan.loads].streams || (reinterpret_cast<uintptr_t>(from) % 64 == 0 && bytes % 64 == 0));
  }
  (past ? functions_.past_caches : functions_.usual)(&frame);
  for (int k = 0; k <= plan.watched; ++k) {
    if (frame.odd[k]) return false;  // of which row is for the interpreter to find
  }
  for (int k = 0; k < plan.exits; ++k) {
    if (plan.exit[k].watched < 0) continue;
    const Leave& sum = code_.output[plan.exit[k].watched];
    constexpr double kZeros[16] = {};
    for (int64_t r = 0; r < rows; r += 16) sum.store_totals(code_.base[sum.view] + (first + r) * row_bytes(sum.view), kZeros, smaller(16, rows - r), outer > 0 ? code_.space.strides[sum.view][0] : 0);
  }
  return true;
}

#else

CompiledScan::CompiledScan(const Code& code, bool) : code_(code) {}
bool CompiledScan::run(Wanted, char* const*, int64_t, int64_t, double*, bool, char*, char*) const { return false; }
bool CompiledScan::forgets(int, char* const*, int64_t, int64_t) const { return false; }
CompiledRows::CompiledRows(const Code& code) : code_(code) {}
bool CompiledRows::run(int64_t, int64_t) const { return false; }

#endif

}  // namespace vantage::cpu::VANTAGE_ISA
