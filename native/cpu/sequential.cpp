// Programs with scans and loops. The last dimension is the time; tiles are time-major, so that a step in time is a vector operation over
// the rows. Rows are parallel; where there are few and they are long, each is cut into segments (see `cut`).
#include "interpreter.h"
#include "scan_functions.h"
#include "scratch.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kScanWidth = 16;
// A loop calls each instruction of its block once for each time: more rows spread the cost of the calls.
constexpr int64_t kLoopWidth = 32;
constexpr int64_t kFewRows = 16;
constexpr int64_t kLongRow = 32768;
constexpr int64_t kSegment = 2048;

// Equal stretches of time, `count` for each row, that are run as if they were rows: [start + i·length, start + (i+1)·length).
struct Band {
  int64_t start, length, count, first_segment;
};

class Sequential {
 public:
  explicit Sequential(const Code& code) : code_(code), space_(code.space), reverse_(code.program->reverse) {
    // A time of 1 leaves no dimension behind.
    has_time_ = space_.reduced > 0;
    time_ = has_time_ ? space_.shape[space_.outer] : 1;
    rows_ = space_.size(0, space_.outer);
    bool loops = false;
    for (int i = 0; i < code.steps; ++i) {
      scans_ += is_scan(code.step[i]);
      loops |= code.step[i].op == Op::loop;
      states_ += code.step[i].op == Op::state;
    }
    segments_ = 1;
    if (!loops && rows_ < kFewRows && time_ >= kLongRow) segments_ = divide_up(time_, kSegment);
    const int64_t length = segments_ > 1 ? kSegment : time_;
    const int64_t whole = time_ / length;
    bands_[0] = {0, length, whole, 0};
    if (whole * length < time_) bands_[1] = {whole * length, time_ - whole * length, 1, whole};
    // Short rows go side by side until a tile is full.
    const int64_t least = loops ? kLoopWidth : kScanWidth;
    width_ = larger(least, code.tile / larger(1, smaller(length, code.tile)) / 8 * 8);
    width_ = smaller(width_, divide_up(rows_ * segments_, 8) * 8);
    while (width_ > 8 && width_ > code.tile) width_ -= 8;
    times_ = smaller(larger(1, code.tile / width_), length);
    if (times_ > 16) times_ = times_ / 16 * 16;
  }

  void run() {
    const int64_t totals = rows_ * segments_;
    char* partials = nullptr;
    if (segments_ > 1) {
      const int64_t carries = (scans_ + 2) * totals;
      double* memory = scratch<double>(Scratch::partials, carries + code_.outputs * totals);
      carry_ = memory;
      end_ = memory + scans_ * totals;
      product_ = end_ + totals;
      partials = reinterpret_cast<char*>(memory + carries);
      cut();
    }
    pass(-1, partials);
    if (partials) combine_partials(partials);
  }

 private:
  static bool is_scan(const Step& step) { return step.op == Op::scan || step.op == Op::scan_prev; }

  // A row in segments: the scans are taken in order. With the earlier ones' carries known, every segment is run up to scan `level` from the
  // state 0, which gives its end value Q and the product P of its factors; then s_out = P·s_in + Q carries the state from segment to
  // segment.
  void cut() {
    const int64_t totals = rows_ * segments_;
    for (int level = 0; level < scans_; ++level) {
      pass(level, nullptr);
      double* carry = carry_ + level * totals;
      for (int64_t row = 0; row < rows_; ++row) {
        double state = 0;
        for (int64_t k = 0; k < segments_; ++k) {
          const int64_t i = row * segments_ + (reverse_ ? segments_ - 1 - k : k);
          carry[i] = state;
          // The first segment started from the program's own initial state. A state of 0 stays out of the product, which may have
          // overflowed.
          state = end_[i] + (k == 0 || state == 0 ? 0.0 : product_[i] * state);
        }
      }
    }
  }

  // Runs all rows. level >= 0: only up to that scan, into end_ and product_.
  void pass(int level, char* partials) {
    const int64_t groups[2] = {divide_up(rows_ * bands_[0].count, width_), divide_up(rows_ * bands_[1].count, width_)};
    const int64_t per_task = larger(1, kTaskElements / (width_ * bands_[0].length));
    const int64_t tasks[2] = {divide_up(groups[0], per_task), groups[1]};
    parallel_for(tasks[0] + tasks[1], rows_ * time_ * code_.work, [&](int64_t task) {
      char* memory = scratch<char>(Scratch::tile, code_.memory_bytes());
      void* at[kMaxInstructions];
      code_.place(memory, at);
      if (task >= tasks[0]) group(bands_[1], task - tasks[0], level, memory, at, partials);
      for (int64_t i = task * per_task; i < smaller((task + 1) * per_task, groups[0]); ++i) group(bands_[0], i, level, memory, at, partials);
      finish_stores(code_);
    });
  }

  // One group of rows, through all of its time.
  void group(const Band& band, int64_t index, int level, char* homes, void** at, char* partials) const {
    const int64_t first = index * width_;
    const int64_t rows = smaller(width_, rows_ * band.count - first);
    const int64_t views = static_cast<int64_t>(code_.program->views.size());
    const int64_t pointers = views * width_ * 8, lane = width_ * 8;
    char* memory = scratch<char>(Scratch::accumulators, pointers + (scans_ + 1 + states_ + code_.outputs) * lane + width_ * 8);
    Group g;
    g.band = &band;
    g.rows = rows;
    g.level = level;
    g.starts = reinterpret_cast<void**>(memory);
    g.scan = reinterpret_cast<double*>(memory + pointers);
    g.product = g.scan + scans_ * width_;
    g.state = reinterpret_cast<char*>(g.product + width_);
    g.totals = g.state + states_ * lane;
    g.segment = reinterpret_cast<int64_t*>(g.totals + code_.outputs * lane);
    locate(g, first);
    for (int64_t r = 0; r < width_; ++r) g.product[r] = 1;
    for (int k = 0; k < code_.outputs; ++k) {
      if (code_.output[k].reduction != Reduction::store) code_.output[k].fold->reset(g.totals + k * lane, width_);
    }
    for (int64_t done = 0; done < band.length; done += times_) {
      const int64_t n = smaller(times_, band.length - done);
      tile(g, reverse_ ? band.length - done - n : done, n, done == 0, homes, at);
    }
    if (level >= 0) {
      for (int64_t r = 0; r < rows; ++r) {
        end_[g.segment[r]] = g.scan[level * width_ + r];
        product_[g.segment[r]] = g.product[r];
      }
      return;
    }
    for (int k = 0; k < code_.outputs; ++k) {
      const Leave& out = code_.output[k];
      if (out.reduction == Reduction::store) continue;
      const char* totals = g.totals + k * lane;
      for (int64_t r = 0; r < rows; ++r) {
        const char* total = totals + r * kTotalBytes;
        if (partials) __builtin_memcpy(partials + (k * rows_ * segments_ + g.segment[r]) * kTotalBytes, total, kTotalBytes);
        else out.store_totals(g.starts[out.view * width_ + r], total, 1, 0);
      }
    }
  }

  struct Group {
    const Band* band;
    int64_t rows;
    int level;
    void** starts;     // [view][width]: the first element of each row's stretch
    double* scan;      // [scan][width]
    double* product;   // [width]
    char* state;       // [state][width], 8 bytes each
    char* totals;      // [output][width]
    int64_t* segment;  // [width]: row · segments + segment, where rows are in segments
  };

  void locate(Group& g, int64_t first) const {
    const int views = static_cast<int>(code_.program->views.size());
    if (segments_ == 1 && space_.outer <= 1) {
      for (int v = 0; v < views; ++v) {
        const int64_t step = space_.outer == 1 ? space_.strides[v][0] * code_.item[v] : 0;
        char* row = code_.base[v] + first * step;
        for (int64_t r = 0; r < width_; ++r) {
          g.starts[v * width_ + r] = row;
          if (r + 1 < g.rows) row += step;
        }
      }
      return;
    }
    for (int64_t r = 0; r < width_; ++r) {
      // Rows past the last repeat it; what they compute is not stored.
      const int64_t pseudo = first + smaller(r, g.rows - 1);
      const int64_t row = pseudo / g.band->count, stretch = pseudo % g.band->count;
      g.segment[r] = row * segments_ + g.band->first_segment + stretch;
      Position position;
      Position::set(&position, space_, 0, space_.outer, row);
      for (int v = 0; v < views; ++v) {
        const int64_t offset =
            Position::offset(position, space_, v, 0, space_.outer) + (g.band->start + stretch * g.band->length) * time_stride(v);
        g.starts[v * width_ + r] = code_.base[v] + offset * code_.item[v];
      }
    }
  }

  int64_t time_stride(int view) const { return has_time_ ? space_.strides[view][space_.outer] : 0; }

  // The rows of a view at the times [t, t + n).
  TimeMajor rows_of(const Group& g, int view, int64_t t, int64_t n) const {
    return {g.starts + view * width_, t, time_stride(view), width_, n, reverse_ ? -n : n, g.rows, false};
  }

  // The times [t, t + n) of a group; `begins`: the first ones in the program's direction.
  void tile(const Group& g, int64_t t, int64_t n, bool begins, char* memory, void** at) const {
    int scan = 0, state = 0;
    Tests tests;
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      switch (step.op) {
        case Op::constant: break;
        case Op::load: {
          const TimeMajor from = rows_of(g, step.view, t, n);
          if (step.tested) tests.all_true[step.dst] = from.stride == 1 && all_true(from);
          if (!step.tested || !tests.all_true[step.dst]) step.load_time_major(at[step.dst], from);
          break;
        }
        case Op::scan:
        case Op::scan_prev: {
          double* s = g.scan + scan * width_;
          const ScanFunctions& functions = scan_functions(step.type);
          const bool masked = step.mask >= 0 && !(step.chooses && tests.all_true[step.mask]);
          const int32_t* mask = masked ? static_cast<const int32_t*>(at[step.mask]) : nullptr;
          const ScanCall call = {at[step.dst], at[step.a], at[step.b], mask, s, width_, n, code_.uniform[step.a], reverse_, step.op == Op::scan_prev};
          if (begins) initial_state(g, step, scan, s, at, n);
          if (scan == g.level) functions.product(call, g.product);
          functions.scan(call);
          if (scan++ == g.level) return;
          break;
        }
        case Op::loop:
          loop(code_.step + i + 1, step.block, g.state + state * width_ * 8, n, begins, at);
          for (int k = i + 1; k <= i + step.block; ++k) state += code_.step[k].op == Op::state;
          i += step.block;
          break;
        default:
          if (step.chooses && tests.all_true[step.a]) {
            at[step.dst] = at[step.b];
            break;
          }
          if (step.chooses) at[step.dst] = code_.home_of(step, memory);
          run_step(step, at, width_ * n);
      }
    }
    for (int k = 0; k < code_.outputs; ++k) {
      const Leave& out = code_.output[k];
      if (out.reduction == Reduction::store) {
        TimeMajor to = rows_of(g, out.view, t, n);
        to.stream = out.stream;
        out.store_time_major(to, at[out.value]);
      } else {
        out.fold->columns(g.totals + k * width_ * kTotalBytes, at[out.value], width_ * n, width_);
      }
    }
  }

  int64_t first_time(int64_t n) const { return reverse_ ? n - 1 : 0; }

  void initial_state(const Group& g, const Step& step, int scan, double* s, void** at, int64_t n) const {
    const ScanFunctions& functions = scan_functions(step.type);
    if (code_.uniform[step.c]) functions.initial(s, at[step.c], width_, 0);
    else functions.initial(s, static_cast<char*>(at[step.c]) + first_time(n) * width_ * step.size, width_, 1);
    if (segments_ == 1) return;
    const int64_t first_segment = reverse_ ? segments_ - 1 : 0;
    for (int64_t r = 0; r < width_; ++r) {
      if (g.segment[r] % segments_ == first_segment) continue;
      s[r] = scan == g.level ? 0.0 : carry_[scan * rows_ * segments_ + g.segment[r]];
    }
  }

  // A block, once for each time.
  void loop(const Step* block, int count, char* states, int64_t n, bool begins, void** at) const {
    int heads = 0;
    while (heads < count && block[heads].op == Op::state) ++heads;
    const int64_t lane = width_ * 8;
    for (int64_t done = 0; done < n; ++done) {
      const int64_t first = (reverse_ ? n - 1 - done : done) * width_;
      for (int k = 0; k < heads; ++k) {
        const Step& step = block[k];
        const int64_t bytes = width_ * step.size;
        const void* from = begins && done == 0 ? static_cast<char*>(at[step.c]) + first * step.size : states + k * lane;
        __builtin_memcpy(static_cast<char*>(at[step.dst]) + first * step.size, from, bytes);
      }
      for (int k = heads; k < count; ++k) {
        const Step& step = block[k];
        const auto operand = [&](int value, int size) { return value < 0 ? nullptr : static_cast<char*>(at[value]) + first * size; };
        step.run(width_, static_cast<char*>(at[step.dst]) + first * step.size, operand(step.a, step.step_a), operand(step.b, step.step_b),
                 operand(step.c, step.step_c));
      }
      for (int k = 0; k < heads; ++k) {
        const Step& step = block[k];
        __builtin_memcpy(states + k * lane, static_cast<char*>(at[step.a]) + first * step.size, width_ * step.size);
      }
    }
  }

  void combine_partials(char* partials) const {
    for (int k = 0; k < code_.outputs; ++k) {
      const Leave& out = code_.output[k];
      if (out.reduction == Reduction::store) continue;
      for (int64_t row = 0; row < rows_; ++row) {
        char* total = partials + (k * rows_ + row) * segments_ * kTotalBytes;
        for (int64_t s = 1; s < segments_; ++s) out.fold->merge(total, total + s * kTotalBytes, 1);
        Position position;
        Position::set(&position, space_, 0, space_.outer, row);
        out.store_totals(code_.base[out.view] + Position::offset(position, space_, out.view, 0, space_.outer) * code_.item[out.view], total,
                         1, 0);
      }
    }
  }

  const Code& code_;
  const Space& space_;
  bool reverse_, has_time_;
  int scans_ = 0, states_ = 0;
  int64_t time_, rows_, segments_;
  int64_t width_, times_;  // rows and times of a tile
  Band bands_[2] = {};
  // Of a row in segments: the state that enters each segment, [scan][row][segment]; the end values and products of the present pass.
  double *carry_ = nullptr, *end_ = nullptr, *product_ = nullptr;
};

}  // namespace

void run_sequential(const Code& code) { Sequential(code).run(); }

}  // namespace vantage::cpu::VANTAGE_ISA
