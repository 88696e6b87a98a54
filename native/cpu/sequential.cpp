// Programs with loops, and scans over short rows. The last dimension is the time; tiles are time-major, so that a step in time is a vector operation
// over the rows. Rows are parallel.
#include "compiled_scan.h"
#include "interpreter.h"
#include "scan_functions.h"
#include "scratch.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kScanWidth = 16;
// A loop calls each instruction of its block once for each time: more rows spread the cost of the calls.
constexpr int64_t kLoopWidth = 32;

class Sequential {
 public:
  explicit Sequential(const Code& code) : code_(code), compiled_(code), space_(code.space), reverse_(code.program->reverse) {
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
    // Short rows go side by side until a tile is full.
    const int64_t least = loops ? kLoopWidth : kScanWidth;
    width_ = larger(least, code.tile / larger(1, smaller(time_, code.tile)) / 8 * 8);
    width_ = smaller(width_, divide_up(rows_, 8) * 8);
    while (width_ > 8 && width_ > code.tile) width_ -= 8;
    times_ = smaller(larger(1, code.tile / width_), time_);
    if (times_ > 16) times_ = times_ / 16 * 16;
  }

  void run() {
    const int64_t groups = divide_up(rows_, width_);
    const int64_t per_task = larger(1, kTaskElements / (width_ * time_));
    parallel_for(divide_up(groups, per_task), rows_ * time_ * code_.work, [&](int64_t task) {
      const int64_t first = task * per_task * width_, last = smaller(first + per_task * width_, rows_);
      char* memory = scratch<char>(Scratch::tile, code_.memory_bytes());
      void* at[kMaxInstructions];
      code_.place(memory, at);
      for (int64_t row = first; row < last; row += width_) {
        const int64_t rows = smaller(width_, last - row);
        if (!compiled_) group(row, rows, memory, at);
        else if (!compiled_.run(row, rows))
          // One of them is for the interpreter; the others are what they are without it.
          for (int64_t one = row; one < row + rows; ++one) {
            if (!compiled_.run(one, 1)) group(one, 1, memory, at);
          }
      }
      finish_stores(code_);
    });
  }

 private:
  // A group of rows, no more than width_, through all of its time.
  void group(int64_t first, int64_t rows, char* homes, void** at) const {
    const int64_t views = static_cast<int64_t>(code_.program->views.size());
    const int64_t pointers = views * width_ * 8, lane = width_ * 8, total = width_ * kTotalRoom;
    char* memory = scratch<char>(Scratch::accumulators, pointers + (scans_ + states_ + 1) * lane + code_.outputs * total);
    Group g;
    g.rows = rows;
    g.starts = reinterpret_cast<void**>(memory);
    g.scan = reinterpret_cast<double*>(memory + pointers);
    g.state = reinterpret_cast<char*>(g.scan + scans_ * width_);
    char* const finished = g.state + states_ * lane;
    g.totals = finished + lane;
    locate(g, first);
    for (int k = 0; k < code_.outputs; ++k) {
      if (code_.output[k].reduction != Reduction::store) code_.output[k].fold->reset(g.totals + k * total, width_);
    }
    for (int64_t done = 0; done < time_; done += times_) {
      const int64_t n = smaller(times_, time_ - done);
      tile(g, reverse_ ? time_ - done - n : done, n, done == 0, homes, at);
    }
    for (int k = 0; k < code_.outputs; ++k) {
      const Leave& out = code_.output[k];
      if (out.reduction == Reduction::store) continue;
      const char* totals = g.totals + out.state * total;
      if (out.finish) {
        out.finish(finished, totals, width_);
        totals = finished;
      }
      for (int64_t r = 0; r < rows; ++r) {
        out.store_totals(g.starts[out.view * width_ + r], totals + r * kTotalBytes, 1, 0);
      }
    }
  }

  struct Group {
    int64_t rows;
    void** starts;  // [view][width]: the first element of each row
    double* scan;   // [scan][width]
    char* state;    // [state][width], 8 bytes each
    char* totals;   // [output], room for width totals each
  };

  void locate(Group& g, int64_t first) const {
    const int views = static_cast<int>(code_.program->views.size());
    if (space_.outer <= 1) {
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
      Position position;
      Position::set(&position, space_, 0, space_.outer, first + smaller(r, g.rows - 1));
      for (int v = 0; v < views; ++v) {
        const int64_t offset = Position::offset(position, space_, v, 0, space_.outer);
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
          if (step.tested) tests.of[step.dst] = from.stride == 1 && all_true(from) ? Truth::all : Truth::some;
          if (!step.tested || step.valued || tests.of[step.dst] == Truth::some) step.load_time_major(at[step.dst], from);
          break;
        }
        case Op::scan:
        case Op::scan_prev: {
          double* s = g.scan + scan * width_;
          const ScanFunctions& functions = scan_functions(step.type);
          const bool masked = step.mask >= 0 && !(step.chooses && tests.of[step.mask] == Truth::all);
          const int32_t* mask = masked ? static_cast<const int32_t*>(at[step.mask]) : nullptr;
          const ScanCall call = {at[step.dst], at[step.a], at[step.b], mask, s, width_, n, code_.uniform[step.a], reverse_, step.op == Op::scan_prev};
          if (begins && code_.uniform[step.c]) functions.initial(s, at[step.c], width_, 0);
          else if (begins) functions.initial(s, static_cast<char*>(at[step.c]) + first_time(n) * width_ * step.size, width_, 1);
          functions.scan(call);
          ++scan;
          break;
        }
        case Op::loop:
          loop(code_.step + i + 1, step.block, g.state + state * width_ * 8, n, begins, at);
          for (int k = i + 1; k <= i + step.block; ++k) state += code_.step[k].op == Op::state;
          i += step.block;
          break;
        default:
          if (step.chooses && tests.of[step.a] == Truth::all) {
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
      } else if (out.state == k) {
        out.fold->columns(g.totals + k * width_ * kTotalRoom, at[out.value], width_ * n, width_);
      }
    }
  }

  int64_t first_time(int64_t n) const { return reverse_ ? n - 1 : 0; }

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

  const Code& code_;
  const CompiledRows compiled_;
  const Space& space_;
  bool reverse_, has_time_;
  int scans_ = 0, states_ = 0;
  int64_t time_, rows_;
  int64_t width_, times_;  // rows and times of a tile
};

}  // namespace

void run_sequential(const Code& code) { Sequential(code).run(); }

}  // namespace vantage::cpu::VANTAGE_ISA
