// Group-relative advantages from token rewards: the masked sum of each row, statistics over its group, one number for all valid tokens of the row.
#include "../core/group_advantage.h"
#include "../core/kernels.h"
#include "groups.h"
#include "recurrence_tile.h"
#include "reduce_functions.h"
#include "scratch.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kTaskTokens = 32768;
// The mask of a group of so many tokens stays in the cache between its sums and its advantages.
constexpr int64_t kHeldTokens = int64_t{1} << 19;
constexpr int64_t kManyGroups = 32;
constexpr int64_t kPart = 256;  // columns at a time
constexpr int64_t kAhead = 4;  // parts that are asked for before they are summed

// lanes[i % kLanes] takes element i.
template <class T>
VANTAGE_INLINE void add_lanes(double* lanes, const T* x, int64_t n) {
  int64_t i = 0;
  if constexpr (sizeof(T) == 4) {
    constexpr int kWide = kLanes * sizeof(double) / sizeof(WideDoubles), kFloats = kLanes / kWide;
    WideDoubles sum[kWide];
    __builtin_memcpy(sum, lanes, sizeof sum);
    for (; i + kLanes <= n; i += kLanes) {
#pragma GCC unroll 4
      for (int k = 0; k < kWide; ++k) {
        FloatsToWiden v;
        WideDoubles wide;
        load_vector(v, x + i + kFloats * k);
        widen(wide, v);
        sum[k] += wide;
      }
    }
    __builtin_memcpy(lanes, sum, sizeof sum);
  }
  for (; i < n; ++i) lanes[i % kLanes] += static_cast<double>(x[i]);
}

template <class T>
class GroupAdvantages {
 public:
  explicit GroupAdvantages(const KernelCall& call)
      : rewards_(call.views[0]), mask_(call.views[1]), out_(call.views[4]), row_out_(call.views[5]), lists_{call.views[2], call.views[3], call.views[0].shape[0]},
        rule_(group_rule(call.scalars, call.attributes[0])), rows_(rewards_.shape[0]), time_(rewards_.shape[1]) {}

  void run() {
    lists_.check("group_advantages");
    stream_ = sizeof(T) == 4 && worth_streaming(rows_ * time_ * static_cast<int64_t>(2 * sizeof(T) + 1)) && streams_well(time_ * static_cast<int64_t>(sizeof(T)));
    scores_ = scratch<T>(Scratch::scores, static_cast<size_t>(rows_ + 1));
    const int64_t of_task = time_ >= kTaskTokens ? 1 : kTaskTokens / (time_ + 1) + 1, tasks = (rows_ + of_task - 1) / of_task;
    if (const int64_t groups_of_task = groups_at_once()) {
      const int64_t groups = lists_.groups();
      return parallel_for((groups + groups_of_task - 1) / groups_of_task, rows_ * time_ * 2, [&](int64_t task) {
        const auto row_of = [&](int64_t i) { return lists_.row(i); };
        const int64_t begin = task * groups_of_task, end = begin + groups_of_task < groups ? begin + groups_of_task : groups;
        Sums<decltype(row_of)> sums(*this, row_of, lists_.start(begin), lists_.start(end));
        for (int64_t g = begin; g < end; ++g) {
          const int64_t first = lists_.start(g), last = lists_.start(g + 1);
          sums.reach(last);
          compare(g);
          // Memory that is written only, and then read only, gives less than both at a time: the next group is summed meanwhile.
          const int64_t next = lists_.start(g + 2 < end ? g + 2 : end);
          write_rows(first, last, row_of, [&] {
            if (sums.reached() < next) sums.add();
          });
        }
        if (stream_) finish_stream();
      });
    }
    const auto itself = [](int64_t i) { return i; };
    const auto rows_of_task = [&](int64_t task, const auto& body) {
      const int64_t last = (task + 1) * of_task;
      body(task * of_task, last < rows_ ? last : rows_);
    };
    parallel_for(tasks, rows_ * time_, [&](int64_t task) { rows_of_task(task, [&](int64_t first, int64_t last) { Sums<decltype(itself)>(*this, itself, first, last).reach(last); }); });
    for (int64_t i = 0; i < rows_; ++i) element<T>(row_out_, i) = 0;
    for (int64_t g = 0; g < lists_.groups(); ++g) compare(g);
    parallel_for(tasks, rows_ * time_, [&](int64_t task) {
      rows_of_task(task, [&](int64_t first, int64_t last) { write_rows(first, last, itself, [] {}); });
      if (stream_) finish_stream();
    });
  }

 private:
  const TensorView rewards_, mask_, out_, row_out_;
  const GroupLists lists_;
  const GroupRule rule_;
  const int64_t rows_, time_;
  bool stream_ = false;
  T* scores_ = nullptr;

  // How many groups a task takes, from the first pass to the last; 0 where they are too few or too large for that, or do not hold each row once.
  int64_t groups_at_once() const {
    const int64_t groups = lists_.groups();
    if (groups < kManyGroups || lists_.start(0) != 0 || lists_.start(groups) != rows_) return 0;
    uint8_t* const seen = scratch<uint8_t>(Scratch::partials, static_cast<size_t>(rows_ + 1));
    __builtin_memset(seen, 0, static_cast<size_t>(rows_));
    for (int64_t i = 0; i < rows_; ++i) {
      uint8_t& flag = seen[lists_.row(i)];
      if (flag) return 0;
      flag = 1;
    }
    int64_t largest = 0;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t size = lists_.start(g + 1) - lists_.start(g);
      if (size > largest) largest = size;
    }
    const int64_t tokens = largest * time_;
    if (tokens > kHeldTokens || largest * kManyGroups > rows_) return 0;
    // No more tasks than keep the threads busy: nothing is written while the first group of one is summed.
    const int64_t few = tokens >= kTaskTokens ? 1 : kTaskTokens / (tokens + 1) + 1, tasks = threads() * 8 > kManyGroups ? threads() * 8 : kManyGroups;
    return groups > few * tasks ? groups / tasks : few;
  }

  // The sums of rows [from, to) of a list, a part at a time. Parts in which nothing is valid are passed over, and no hardware foresees that: what comes next is asked for.
  template <class RowOf>
  class Sums {
   public:
    Sums(const GroupAdvantages& all, const RowOf& row_of, int64_t from, int64_t to) : all_(all), row_of_(row_of), to_(to), i_(from) {
      while (last_ < kAhead && look()) {}
    }
    // The rows before it have their sums.
    int64_t reached() const { return first_ == last_ ? to_ : parts_[first_ % kAhead].i; }
    void reach(int64_t i) {
      while (reached() < i) add();
    }
    void add() {
      if (first_ == last_) return;
      const Part part = parts_[first_++ % kAhead];
      all_.add_part(lanes_, part.span, part.valid.all);
      look();
      if (reached() == part.i) return;
      all_.scores_[part.span.rows_from] = static_cast<T>(sum_of_lanes(lanes_));
      __builtin_memset(lanes_, 0, sizeof lanes_);
    }

   private:
    struct Part {
      int64_t i;
      Span span;
      Held valid;
    };
    const GroupAdvantages& all_;
    const RowOf& row_of_;
    const int64_t to_;
    int64_t i_, t_ = 0;  // where the next part is looked for
    int64_t first_ = 0, last_ = 0;
    Part parts_[kAhead];
    alignas(64) double lanes_[kLanes] = {};

    // Whether there is another part in which anything is valid.
    bool look() {
      alignas(64) uint8_t bytes[kPart];
      while (i_ < to_) {
        Part& part = parts_[last_ % kAhead];
        part.i = i_;
        part.span = all_.part_of(row_of_(i_), t_);
        part.valid = held(all_.bytes_of(part.span, bytes), part.span.size());
        if (t_ == 0) all_.scores_[part.span.rows_from] = 0;
        t_ = part.span.stop;
        if (t_ == all_.time_) ++i_, t_ = 0;
        if (!part.valid.any) continue;
        if (along(all_.rewards_, part.span)) prefetch(place<const T>(all_.rewards_, part.span), part.span.size());
        ++last_;
        return true;
      }
      return false;
    }
    // Inlined at once: a function that does nothing else is taken for one that does nothing.
    [[gnu::always_inline]] static inline void prefetch(const T* from, int64_t n) {
      const char* const bytes = reinterpret_cast<const char*>(from);
      for (int64_t i = 0; i < n * static_cast<int64_t>(sizeof(T)); i += 64) __builtin_prefetch(bytes + i);
    }
  };

  Span part_of(int64_t row, int64_t t) const { return {row, 1, t, time_ - t < kPart ? time_ : t + kPart}; }

  void add_part(double* lanes, const Span& span, bool all_valid) const {
    alignas(64) T numbers[kPart];
    const T* x = numbers;
    if (along(rewards_, span)) x = place<const T>(rewards_, span);
    else gather_span(numbers, rewards_, span);
    if (!all_valid) {
      alignas(64) uint8_t bytes[kPart];
      const uint8_t* const valid = bytes_of(span, bytes);
      for (int64_t i = 0; i < span.size(); ++i) numbers[i] = valid[i] ? x[i] : T(0);
      x = numbers;
    }
    add_lanes(lanes, x, span.size());
  }

  void compare(int64_t g) const {
    const int64_t first = lists_.start(g), last = lists_.start(g + 1);
    const auto score = [&](int64_t i) { return static_cast<double>(scores_[lists_.row(i)]); };
    Moments group;
    group.count = static_cast<double>(last - first);
    // The mean first: no digits are lost to a common offset.
    double sum = 0, rest = 0;
    for (int64_t i = first; i < last; ++i) sum += score(i);
    group.mean = sum / group.count;
    for (int64_t i = first; i < last; ++i) {
      const double difference = score(i) - group.mean;
      rest += difference;
      group.spread += difference * difference;
    }
    // The mean of equal doubles, rounded, is not always that number, and what it differs by would be whitened; of floats double rounds nothing.
    rest = sizeof(T) == 8 ? rest / group.count : 0;
    for (int64_t i = first; i < last; ++i) {
      element<T>(row_out_, lists_.row(i)) = static_cast<T>(group_advantage(rule_, score(i), score(i) - group.mean - rest, group));
    }
  }

  // `beside`() is called before each part is written.
  template <class RowOf, class Beside>
  void write_rows(int64_t first, int64_t last, const RowOf& row_of, const Beside& beside) const {
    alignas(64) T results[kPart];
    alignas(64) uint8_t bytes[kPart];
    for (; first < last; ++first) {
      const int64_t row = row_of(first);
      const T value = element<T>(row_out_, row);
      for (int64_t t = 0; t < time_; t += kPart) {
        const Span span = part_of(row, t);
        const uint8_t* const valid = bytes_of(span, bytes);
        beside();
        if (!along(out_, span)) {
          spread<false>(results, value, valid, span.size());
          scatter_span(out_, span, results);
        } else {
          stream_ ? spread<true>(place<T>(out_, span), value, valid, span.size()) : spread<false>(place<T>(out_, span), value, valid, span.size());
        }
      }
    }
  }

  // The value where the mask is not 0; past the caches from the first whole line on.
  template <bool kStream>
  static void spread(T* to, T value, const uint8_t* mask, int64_t n) {
    int64_t i = 0;
    const auto one = [&] { to[i] = mask[i] ? value : T(0), ++i; };
    if constexpr (sizeof(T) == 4) {
      if constexpr (kStream) while (i < n && reinterpret_cast<uintptr_t>(to + i) % 64 != 0) one();
      const Held whole = held(mask + i, n - i);
      const f32x8 values = f32x8{} + value;
      const auto eight = [&](int64_t at) {
        f32x8 y = values;
        if (!whole.all) {
          i32x8 valid;
          load_bytes(valid, mask + at);
          y = valid != 0 ? values : f32x8{};
        }
        if constexpr (kStream) stream_vector(to + at, y);
        else store_vector(to + at, y);
      };
      if (kStream && whole.all == whole.any) {
        alignas(64) float line[16];
        for (float& lane : line) lane = whole.all ? value : 0;
        for (; i + 16 <= n; i += 16) stream_line(reinterpret_cast<char*>(to + i), reinterpret_cast<const char*>(line));
      }
      for (; i + 16 <= n; i += 16) eight(i), eight(i + 8);
    }
    while (i < n) one();
  }

  const uint8_t* bytes_of(const Span& span, uint8_t* memory) const {
    if (along(mask_, span)) return place<const uint8_t>(mask_, span);
    gather_span(memory, mask_, span);
    return memory;
  }
};

}  // namespace

void group_advantages(const KernelCall& call) {
  call.views[0].dtype == DType::f64 ? GroupAdvantages<double>(call).run() : GroupAdvantages<float>(call).run();
}

}  // namespace vantage::cpu::VANTAGE_ISA
