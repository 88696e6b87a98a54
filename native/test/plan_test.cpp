// The plan reader: what it refuses, and that no change of a valid plan gets past it to harm (run under sanitizers).
#include <limits>
#include <random>
#include <string>

#include "../core/error.h"
#include "../core/plan.h"
#include "../cpu/backend.h"
#include "test.h"

using namespace vantage;

namespace {

using Words = std::vector<double>;

int op(const char* name) {
  for (int i = 0; kFirstInstruction + i < static_cast<int>(Op::count); ++i) {
    if (std::string(kInstructionRows[i].name) == name) return kFirstInstruction + i;
  }
  return -1;
}

Words record(double tag, const Words& body) {
  Words words = {tag, static_cast<double>(body.size())};
  words.insert(words.end(), body.begin(), body.end());
  return words;
}

Words plan(const Words& head, const std::vector<Words>& records) {
  Words words = head;
  for (const Words& one : records) words.insert(words.end(), one.begin(), one.end());
  return words;
}

// y = x·s + 1 over [3, 4], its sum over the last dimension, and its whole sum by way of the arena.
Words arithmetic() {
  const double mul = op("mul"), add = op("add");
  return plan({1, 3, 2, 64, 2, 48, -1, 48, -1, 24, 0},
              {record(0, {2, 3, 4, 1, 1, 0, 0, 4,
                          3, 0, 0, 0, 4, 1, 1, 0, 0, 4, 1, 2, 1, 0, 1, 0,
                          5, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 2, 1, 0, 0, mul, 0, 3, 0, 1, 0, add, 0, 3, 3, 2, 0,
                          2, 0, 0, 3, 1, 1, 0, 3, 2}),
               record(0, {1, 2, 0, 1, 0, 0, 1, 2, 2, 1, 0, 1, 1, 0, 8, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1})});
}

// GAE's two scans, reversed, over [2, 5]: rewards, values, a bool mask, and the advantages.
Words scans() {
  const double scan = static_cast<int>(Op::scan), previous = static_cast<int>(Op::scan_prev), cast = static_cast<int>(Op::cast);
  const double mul = op("mul"), add = op("add");
  return plan({1, 4, 2, 0, 1, 40, -1, 40, -1, 10, -1, 40, -1},
              {record(0, {2, 2, 5, 1, 1, 1, 1, 10,
                          4, 0, 0, 0, 5, 1, 1, 0, 0, 5, 1, 2, 5, 0, 5, 1, 3, 0, 0, 5, 1,
                          10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 2, 2, 2, 0, 0, cast, 0, 3, 2, 2, 0, 1, 0, 4, 0, 0, 0, 1, 0, 5, 1, 0, 0,
                          previous, 0, 6, 3, 1, 4, mul, 0, 7, 6, 5, 0, add, 0, 8, 7, 0, 0, scan, 0, 9, 3, 8, 4,
                          1, 0, 0, 9, 3})});
}

// s ← s·x + x as a loop over [2, 5].
Words loop() {
  const double loop = static_cast<int>(Op::loop), state = static_cast<int>(Op::state);
  const double mul = op("mul"), add = op("add");
  return plan({1, 2, 1, 0, 1, 40, -1, 40, -1},
              {record(0, {2, 2, 5, 1, 1, 1, 0, 5,
                          2, 0, 0, 0, 5, 1, 1, 0, 0, 5, 1,
                          6, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, loop, 0, 0, 0, 3, 0,
                          state, 0, 2, 4, 0, 1, mul, 0, 3, 2, 0, 0, add, 0, 4, 3, 0, 0,
                          1, 0, 0, 4, 1})});
}

// A fill and a column maximum.
Words kernel() {
  return plan({1, 2, 1, 0, 2, 48, -1, 16, -1},
              {record(1, {static_cast<double>(Kernel::fill), 0, 0, 0, 2, 3, 4, 4, 1, 0}),
               record(0, {2, 3, 4, 0, 1, 0, 0, 1, 2, 0, 0, 0, 4, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 1})});
}

// Runs a plan on buffers of just the size that it asks for.
void run(const Plan& plan) {
  std::vector<std::vector<char>> memory;
  std::vector<ExternalBuffer> buffers;
  for (const Slot& slot : plan.slots) {
    if (slot.arena_offset < 0) memory.emplace_back(static_cast<size_t>(slot.bytes), char{1});
  }
  for (auto& block : memory) buffers.push_back({block.data(), static_cast<int64_t>(block.size())});
  const std::vector<double> scalars(static_cast<size_t>(plan.scalars), 0.5);
  execute(plan, cpu::backend(), buffers.data(), buffers.size(), scalars.data(), scalars.size());
}

// A changed plan may be valid and huge; only small ones are run.
bool small(const Plan& plan) {
  int64_t bytes = plan.arena_bytes;
  for (const Slot& slot : plan.slots) bytes += slot.bytes;
  for (const auto& record : plan.records) {
    const Program* program = std::get_if<Program>(&record);
    if (!program) {
      bytes += std::get<KernelRecord>(record).views[0].size();
      continue;
    }
    int64_t elements = 1;
    for (int d = 0; d < program->ndim; ++d) elements *= program->shape[d];
    bytes += elements;
  }
  return bytes < 1'000'000;
}

double strange(std::mt19937& random) {
  static const double values[] = {
      0,   1,    2,     3,        4,         5,    7,  8,  63, 64, 1024, 0.5, -1, -2, -5, 9007199254740992.0, -9007199254740992.0,
      NAN, 1e-9, 1e300, INFINITY, -INFINITY, 1e18, 4294967296.0, 1099511627776.0};
  return values[random() % (sizeof values / sizeof *values)];
}

}  // namespace

TEST(valid_plans_run) {
  for (const Words& words : {arithmetic(), scans(), loop(), kernel()}) {
    const Plan plan = read_plan(words.data(), words.size());
    run(plan);
    CHECK(!plan.records.empty());
  }
  // The numbers of one of them: x = 2 everywhere, y = 2·3 + 1.
  const Words words = arithmetic();
  const Plan plan = read_plan(words.data(), words.size());
  std::vector<float> x(12, 2.0f), y(12);
  const ExternalBuffer buffers[] = {{x.data(), 48}, {y.data(), 48}};
  const double scalars[] = {3, 1};
  execute(plan, cpu::backend(), buffers, 2, scalars, 2);
  CHECK(y[0] == 7.0f);
  CHECK(y[8] == 28.0f + 28.0f);  // the second record puts the sum of two rows' totals there
  CHECK(y[11] == 7.0f);
}

TEST(wrong_buffers_and_scalars) {
  const Words words = arithmetic();
  const Plan plan = read_plan(words.data(), words.size());
  std::vector<float> x(12), y(12);
  ExternalBuffer buffers[] = {{x.data(), 48}, {y.data(), 47}};
  const double scalars[] = {3, 1};
  CHECK_THROWS(execute(plan, cpu::backend(), buffers, 2, scalars, 2), "buffer 1: expected at least 48 bytes, got 47");
  CHECK_THROWS(execute(plan, cpu::backend(), buffers, 1, scalars, 2), "expected 2 buffers, got 1");
  CHECK_THROWS(execute(plan, cpu::backend(), buffers, 2, scalars, 1), "expected 2 scalars, got 1");
}

TEST(messages_name_the_word) {
  const auto expect = [](size_t word, double value, const char* message) {
    Words words = arithmetic();
    words[word] = value;
    CHECK_THROWS(read_plan(words.data(), words.size()), message);
  };
  expect(0, 2, "plan word 0 (version): expected an integer in [1, 1], got 2");
  expect(1, NAN, "number of slots");
  expect(3, 1e300, "arena bytes");
  expect(10, 32, "multiple of 64");
  expect(10, 64, "outside the arena");
  expect(11, 2, "(record 0, tag)");
  expect(14, 4, "elements [0, 15] of slot 0, which holds 12 of float32");
  expect(15, 1e12, "at most 2^40 elements");
  expect(22, 3, "view slot");
  expect(25, -4, "elements [-8, 3]");
  Words cut = arithmetic();
  cut.pop_back();
  CHECK_THROWS(read_plan(cut.data(), cut.size()), "ends at word");
  cut.push_back(1);
  cut.push_back(1);
  CHECK_THROWS(read_plan(cut.data(), cut.size()), "words");
  CHECK_THROWS(read_plan(nullptr, 0), "ends at word 0");
  Words columns = kernel();
  columns[columns.size() - 4] = static_cast<int>(Reduction::spread);
  CHECK_THROWS(read_plan(columns.data(), columns.size()), "a spread is one of float32 over the last dimensions, got float32 over dimensions 0 to 0 of 2");
}

// An output that is read in another layout, and one that overlaps itself.
TEST(aliasing) {
  const auto copy = [](double offset, double stride_in, double stride_out) {
    return plan({1, 1, 0, 0, 1, 64, -1},
                {record(0, {1, 4, 1, 0, 0, 0, 1, 2, 0, 0, offset, stride_in, 0, 0, 0, stride_out, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1})});
  };
  for (const Words& words : {copy(0, 1, 1), copy(4, 1, 1)}) CHECK(read_plan(words.data(), words.size()).records.size() == 1);
  for (const Words& words : {copy(3, -1, 1), copy(1, 1, 1), copy(0, 0, 1)}) {
    CHECK_THROWS(read_plan(words.data(), words.size()), "another layout");
  }
  const Words folded = copy(8, 1, 0);
  CHECK_THROWS(read_plan(folded.data(), folded.size()), "overlaps itself");
}

TEST(a_loop_has_a_block) {
  const double loop = static_cast<int>(Op::loop);
  const Words words = plan({1, 2, 1, 0, 1, 40, -1, 40, -1},
                           {record(0, {2, 2, 5, 1, 1, 1, 0, 2, 2, 0, 0, 0, 5, 1, 1, 0, 0, 5, 1, 3, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, loop, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1})});
  CHECK_THROWS(read_plan(words.data(), words.size()), "a loop is the last instruction");
}

// Kernels look at an index before they use it, and write with several threads: what they write is theirs alone.
TEST(kernels_write_their_own_memory) {
  const auto scatter = [](double slot, double offset, double stride) {
    return plan({1, 2, 0, 0, 1, 64, -1, 64, -1},
                {record(1, {static_cast<double>(Kernel::scatter_add), 0, 3, 0, 1, 4, 1, 0, 3, 4, 1, 4, 1, slot, 3, offset, 1, 4, stride, 0})});
  };
  for (const Words& words : {scatter(1, 0, 1), scatter(0, 8, 2), scatter(1, 15, -2)}) CHECK(read_plan(words.data(), words.size()).records.size() == 1);
  const Words over_index = scatter(0, 3, 1), over_source = scatter(0, 4, 1), folded = scatter(1, 0, 0);
  CHECK_THROWS(read_plan(over_index.data(), over_index.size()), "record 0, scatter_add writes view 2, which shares memory with view 0");
  CHECK_THROWS(read_plan(over_source.data(), over_source.size()), "shares memory with view 1");
  CHECK_THROWS(read_plan(folded.data(), folded.size()), "scatter_add writes view 2, which overlaps itself");
  // Two slots of the arena in one place.
  const Words arena = plan({1, 2, 0, 64, 1, 48, 0, 16, 0},
                           {record(1, {static_cast<double>(Kernel::scatter_add), 0, 3, 0, 1, 4, 1, 0, 3, 4, 1, 4, 1, 1, 3, 0, 1, 4, 1, 0})});
  CHECK_THROWS(read_plan(arena.data(), arena.size()), "shares memory with view 0");
}

TEST(the_same_buffer_for_two_slots) {
  const Words words = arithmetic();
  const Plan plan = read_plan(words.data(), words.size());
  std::vector<float> x(12);
  const ExternalBuffer buffers[] = {{x.data(), 48, true}, {x.data(), 48, true}};
  const double scalars[] = {3, 1};
  CHECK_THROWS(execute(plan, cpu::backend(), buffers, 2, scalars, 2), "buffer 1: expected memory of its own");
}

TEST(changed_plans_do_no_harm) {
  std::mt19937 random(11);
  int valid = 0, refused = 0;
  for (const Words& original : {arithmetic(), scans(), loop(), kernel()}) {
    // Each word alone, with each strange value; then several at once.
    for (int round = 0; round < 40'000; ++round) {
      Words words = original;
      const int changes = 1 + static_cast<int>(random() % 3);
      for (int i = 0; i < changes; ++i)
        words[random() % words.size()] = random() % 3 == 0 ? words[random() % words.size()] : strange(random);
      if (random() % 20 == 0) words.resize(random() % words.size());
      try {
        const Plan plan = read_plan(words.data(), words.size());
        ++valid;
        if (small(plan)) run(plan);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(valid > 1000);
  CHECK(refused > 10'000);
}

int main(int argc, char** argv) { return test::run_tests(argc, argv); }
