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

// Rows are summed side by side: memory gives more to several streams than to one.
constexpr int kSide = 8;
constexpr int64_t kColumns = 64;
constexpr int64_t kTaskTokens = 32768;
// A group of so many bytes stays in the cache between its sums and its advantages.
constexpr int64_t kHeldBytes = int64_t{1} << 20;
constexpr int64_t kManyGroups = 32;
constexpr int64_t kPart = 128;  // columns that are written before more is asked for
constexpr int64_t kSeveral = 8;  // where groups are many a task has so many times more

template <bool kMasked, class T>
VANTAGE_INLINE void add_lanes(double* lanes, const T* x, const uint8_t* mask, int64_t n) {
  int64_t i = 0;
  if constexpr (sizeof(T) == 4) {
    f64x4 sum[4];
    for (int k = 0; k < 4; ++k) load_vector(sum[k], lanes + 4 * k);
    for (; i + kLanes <= n; i += kLanes) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        f32x8 v;
        f64x4 low, high;
        load_vector(v, x + i + 8 * half);
        if constexpr (kMasked) {
          i32x8 valid;
          load_bytes(valid, mask + i + 8 * half);
          v = valid != 0 ? v : f32x8{};
        }
        widen_halves(low, high, v);
        sum[2 * half] += low, sum[2 * half + 1] += high;
      }
    }
    for (int k = 0; k < 4; ++k) store_vector(lanes + 4 * k, sum[k]);
  }
  for (; i < n; ++i) lanes[i % kLanes] += !kMasked || mask[i] ? static_cast<double>(x[i]) : 0;
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
        for (int64_t g = task * groups_of_task; g < groups && g < (task + 1) * groups_of_task; ++g) {
          const int64_t first = lists_.start(g), last = lists_.start(g + 1);
          const auto row_of = [&](int64_t i) { return lists_.row(i); };
          sum_rows(first, last, row_of);
          compare(g);
          // Memory that is written only, and then read only, gives less than both at a time: the next group is asked for.
          const int64_t next = g + 1 < groups && g + 1 < (task + 1) * groups_of_task ? lists_.start(g + 2) - last : 0;
          write_rows(first, last, row_of, [&](int64_t i, int64_t t, int64_t n) {
            if (i - first < next) ask_for(row_of(last + i - first), t, n);
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
    parallel_for(tasks, rows_ * time_, [&](int64_t task) { rows_of_task(task, [&](int64_t first, int64_t last) { sum_rows(first, last, itself); }); });
    for (int64_t i = 0; i < rows_; ++i) element<T>(row_out_, i) = 0;
    for (int64_t g = 0; g < lists_.groups(); ++g) compare(g);
    parallel_for(tasks, rows_ * time_, [&](int64_t task) {
      rows_of_task(task, [&](int64_t first, int64_t last) { write_rows(first, last, itself, [](int64_t, int64_t, int64_t) {}); });
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
    if (tokens * static_cast<int64_t>(sizeof(T) + 1) > kHeldBytes || largest * kManyGroups > rows_) return 0;
    const int64_t few = tokens >= kTaskTokens ? 1 : kTaskTokens / (tokens + 1) + 1;
    return groups >= few * kSeveral * kManyGroups ? few * kSeveral : few;
  }

  template <class RowOf>
  void sum_rows(int64_t first, int64_t last, const RowOf& row_of) const {
    alignas(64) double lanes[kSide][kLanes];
    alignas(64) T numbers[kColumns];
    alignas(64) uint8_t bytes[kColumns];
    for (; first < last; first += kSide) {
      const int side = last - first < kSide ? static_cast<int>(last - first) : kSide;
      __builtin_memset(lanes, 0, sizeof lanes);
      for (int64_t t = 0; t < time_; t += kColumns) {
        for (int k = 0; k < side; ++k) {
          const Span span = {row_of(first + k), 1, t, time_ - t < kColumns ? time_ : t + kColumns};
          const uint8_t* const valid = bytes_of(span, bytes);
          const Held mask = held(valid, span.size());
          if (!mask.any) continue;
          if (!along(rewards_, span)) gather_span(numbers, rewards_, span);
          const T* const x = along(rewards_, span) ? place<const T>(rewards_, span) : numbers;
          mask.all ? add_lanes<false>(lanes[k], x, valid, span.size()) : add_lanes<true>(lanes[k], x, valid, span.size());
        }
      }
      for (int k = 0; k < side; ++k) scores_[row_of(first + k)] = static_cast<T>(sum_of_lanes(lanes[k]));
    }
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

  // The columns [t, t + n) of a row, into the cache.
  void ask_for(int64_t row, int64_t t, int64_t n) const {
    const Span span = {row, 1, t, t + n};
    if (!along(rewards_, span) || !along(mask_, span)) return;
    const char* const x = reinterpret_cast<const char*>(place<const T>(rewards_, span));
    const char* const valid = place<const char>(mask_, span);
    for (int64_t line = 0; line < n * static_cast<int64_t>(sizeof(T)); line += 64) __builtin_prefetch(x + line, 0, 2);
    for (int64_t line = 0; line < n; line += 64) __builtin_prefetch(valid + line, 0, 2);
  }

  // `beside`(i, t, n) is called with each n columns from t on.
  template <class RowOf, class Beside>
  void write_rows(int64_t first, int64_t last, const RowOf& row_of, const Beside& beside) const {
    alignas(64) T results[kPart];
    alignas(64) uint8_t bytes[kPart];
    for (; first < last; ++first) {
      const int64_t row = row_of(first);
      const T value = element<T>(row_out_, row);
      for (int64_t t = 0; t < time_; t += kPart) {
        const Span span = {row, 1, t, time_ - t < kPart ? time_ : t + kPart};
        const uint8_t* const valid = bytes_of(span, bytes);
        beside(first, t, span.size());
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
