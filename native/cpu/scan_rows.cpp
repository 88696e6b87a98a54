// Programs with scans over long rows: row after row, tile by tile, each scan inside the row (recurrence_block.h). Few and long rows are cut into segments.
#include "scan_tile.h"
#include "scratch.h"
#include "thread_pool.h"
#include "tile.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kShortRow = 64;
constexpr int64_t kFewRows = 16;
constexpr int64_t kSegment = 16384;

int64_t time_of(const Space& space) { return space.reduced > 0 ? space.shape[space.outer] : 1; }

// What a segment hands to the next one, of one scan: the state, once it is there.
struct Link {
  double state;
  uint32_t ready;
};

// A row in segments: each is run up to its first scan from the state 0, which gives the end value Q and the product P of its factors. Then P·s + Q is what
// enters the next segment, where s is what enters this one; with it the same is done for the second scan, and so on. The last run writes: what it reads
// is in the cache by then. A compiled scan that forgets within the segment what came in has no use for P, and the first
// one is run only as far from the end as it remembers.
class ScanRows {
 public:
  explicit ScanRows(const Code& code)
      : code_(code), reverse_(code.program->reverse), time_(time_of(code.space)), rows_(code.space.size(0, code.space.outer)), tile_(code.tile),
        segments_(rows_ < kFewRows && time_ >= 2 * kSegment ? divide_up(time_, kSegment) : 1), compiled_(code, segments_ > 1) {
    for (int i = 0; i < code.steps; ++i) scans_ += is_scan(code.step[i]);
  }

  void run() {
    const int64_t length = segments_ > 1 ? kSegment : time_, tasks = rows_ * segments_;
    const int64_t per_task = segments_ > 1 ? 1 : larger(1, kTaskElements / length);
    // The totals of each segment, and its links.
    char* partials = nullptr;
    if (segments_ > 1) {
      partials = scratch<char>(Scratch::partials, tasks * (code_.outputs * kTotalRoom + scans_ * static_cast<int64_t>(sizeof(Link))));
      links_ = reinterpret_cast<Link*>(partials + tasks * code_.outputs * kTotalRoom);
      for (int64_t i = 0; i < tasks * scans_; ++i) links_[i].ready = 0;
    }
    parallel_for(divide_up(tasks, per_task), rows_ * time_ * code_.work, [&](int64_t task) {
      const int64_t lane_bytes = code_.outputs * kLanes * kTotalRoom, total_bytes = code_.outputs * kTotalRoom;
      char* memory = scratch<char>(Scratch::tile, code_.memory_bytes() + lane_bytes + total_bytes + scans_ * static_cast<int64_t>(sizeof(double)));
      char* const lanes = memory + code_.memory_bytes();
      Worker worker{{code_, compiled_, memory, reverse_ ? -tile_ : tile_}, lanes, lanes + lane_bytes, reinterpret_cast<double*>(lanes + lane_bytes + total_bytes)};
      const int64_t first = task * per_task, last = smaller(first + per_task, tasks);
      for (int64_t i = first; i < last; ++i) {
        // The way the steps go: to the hardware's prefetching, the rows are one stream.
        const int64_t row = segments_ > 1 ? i % rows_ : reverse_ ? first + last - 1 - i : i;
        worker.tile.begin_row(row);
        if (segments_ > 1) worker.totals = partials + i * total_bytes;
        if (segments_ > 1) segment(worker, row, i / rows_);
        else whole(worker, row);
      }
      finish_stores(code_);
    });
    if (segments_ > 1) combine_partials(partials);
  }

 private:
  struct Worker {
    ScanTile tile;
    char* lanes;    // [output][kLanes]
    char* totals;   // [output]
    double* state;  // [scan]
  };

  void whole(Worker& worker, int64_t row) const {
    write(worker, 0, time_, true);
    store_each_total(code_, row, worker.totals);
  }

  void segment(Worker& worker, int64_t row, int64_t index) const {
    const int64_t done = index * kSegment, size = smaller(kSegment, time_ - done), start = reverse_ ? time_ - done - size : done;
    const bool first = index == 0, last = index + 1 == segments_;
    double* const carry = scratch<double>(Scratch::accumulators, scans_);
    for (int scan = 0; !first && scan < scans_; ++scan) {
      double product = 1;
      if (!last) {
        for (int k = 0; k < scans_; ++k) worker.state[k] = k < scan ? carry[k] : 0;
        const int64_t tail = tile_ < size ? tile_ : size, tail_start = reverse_ ? start : start + (divide_up(size, tile_) - 1) * tile_;
        if (scan == 0 && worker.tile.forgets(scan, tail_start, reverse_ ? tail : start + size - tail_start)) {
          steps(worker, tail_start, reverse_ ? tail : start + size - tail_start, {worker.state, false, nullptr, scan});
          product = 0;
        } else if (worker.tile.forgets(scan, start, size)) {
          steps(worker, start, size, {worker.state, false, nullptr, scan});
          product = 0;
        } else {
          steps(worker, start, size, {worker.state, false, &product, scan});
        }
      }
      const Link& before = link(row, index - 1, scan);
      wait_for(before.ready);
      carry[scan] = before.state;
      if (last) continue;
      // A state of 0 stays out of the product, which may have overflowed. What is not finite is known after the steps themselves; 0 times it says so.
      const double state = worker.state[scan] + (carry[scan] == 0 ? 0.0 : product * carry[scan]);
      if (state - state == 0) hand_over(row, index, scan, state);
    }
    for (int scan = 0; !first && scan < scans_; ++scan) worker.state[scan] = carry[scan];
    write(worker, start, size, first);
    for (int scan = 0; scan < scans_; ++scan) {
      if (link(row, index, scan).ready == 0) hand_over(row, index, scan, worker.state[scan]);
    }
  }

  Link& link(int64_t row, int64_t segment, int scan) const { return links_[(segment * rows_ + row) * scans_ + scan]; }

  void hand_over(int64_t row, int64_t segment, int scan, double state) const {
    Link& to = link(row, segment, scan);
    to.state = state;
    __atomic_store_n(&to.ready, 1, __ATOMIC_RELEASE);
  }

  // The times [start, start + size), with their outputs.
  void write(Worker& worker, int64_t start, int64_t size, bool begins) const {
    constexpr int64_t kLaneBytes = kLanes * kTotalRoom;
    for (int k = 0; k < code_.outputs; ++k) {
      if (code_.output[k].folds(k)) code_.output[k].fold->reset(worker.lanes + k * kLaneBytes, kLanes);
    }
    steps(worker, start, size, {worker.state, begins, nullptr, -1});
    for (int k = 0; k < code_.outputs; ++k) {
      if (code_.output[k].folds(k)) code_.output[k].fold->combine(worker.totals + k * kTotalRoom, worker.lanes + k * kLaneBytes);
    }
  }

  // Tiles begin at whole multiples of their size, where arrays begin lines of the cache.
  void steps(Worker& worker, int64_t start, int64_t size, ScanStates scans) const {
    const int64_t tiles = divide_up(size, tile_);
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t from = (reverse_ ? tiles - 1 - i : i) * tile_, n = smaller(tile_, size - from);
      worker.tile.run(start + from, n, scans, worker.lanes);
      scans.begins = false;
    }
  }

  void combine_partials(char* partials) const {
    const int64_t bytes = code_.outputs * kTotalRoom;
    for (int64_t row = 0; row < rows_; ++row) {
      char* const totals = partials + row * bytes;
      for (int k = 0; k < code_.outputs; ++k) {
        const Leave& out = code_.output[k];
        if (!out.folds(k)) continue;
        for (int64_t s = 1; s < segments_; ++s) out.fold->merge(totals + k * kTotalRoom, totals + s * rows_ * bytes + k * kTotalRoom, 1);
      }
      store_each_total(code_, row, totals);
    }
  }

  const Code& code_;
  const bool reverse_;
  const int64_t time_, rows_, tile_, segments_;
  const CompiledScan compiled_;
  int scans_ = 0;
  Link* links_ = nullptr;  // [segment][row][scan]
};

}  // namespace

bool scans_along_rows(const Code& code) {
  for (int i = 0; i < code.steps; ++i) {
    if (code.step[i].op == Op::loop) return false;
  }
  return time_of(code.space) > kShortRow && crossing_dimension(code, 0, code.space.outer, code.space.outer) < 0;
}

void run_scan_rows(const Code& code) { ScanRows(code).run(); }

}  // namespace vantage::cpu::VANTAGE_ISA
