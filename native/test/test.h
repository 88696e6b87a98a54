// A small test harness: TEST(name) { CHECK(...); } in any number of functions, run_tests() in main.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

namespace test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline int& failures() {
  static int count = 0;
  return count;
}
inline long& checks() {
  static long count = 0;
  return count;
}

struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

// Failures are counted and the first ones printed; a test goes on after one.
template <class... Arguments>
void report(const char* file, int line, const char* format, Arguments... arguments) {
  if (++failures() > 40) return;
  std::printf("  %s:%d: ", file, line);
  if constexpr (sizeof...(arguments) == 0) std::printf("%s", format);
  else std::printf(format, arguments...);
  std::printf("\n");
}

// Equal, both NaN, or within `relative` of the larger one plus `absolute`.
inline bool close(double got, double expected, double relative, double absolute) {
  if (std::isnan(got) || std::isnan(expected)) return std::isnan(got) && std::isnan(expected);
  if (std::isinf(got) || std::isinf(expected)) return got == expected;
  return std::fabs(got - expected) <= absolute + relative * std::fmax(std::fabs(got), std::fabs(expected));
}

// Runs the tests whose name contains argv[1], or all.
inline int run_tests(int argc, char** argv) {
  int ran = 0;
  for (const Case& one : cases()) {
    if (argc > 1 && !std::strstr(one.name, argv[1])) continue;
    const int before = failures();
    try {
      one.run();
    } catch (const std::exception& error) {
      report(one.name, 0, "unexpected exception: %s", error.what());
    }
    std::printf("%s %s\n", failures() == before ? "ok    " : "FAILED", one.name);
    ++ran;
  }
  std::printf("%d tests, %ld checks, %d failures\n", ran, checks(), failures());
  return failures() != 0 || ran == 0;
}

}  // namespace test

#define TEST(name)                                         \
  static void test_##name();                               \
  static const test::Register register_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(condition)                                              \
  do {                                                                \
    ++test::checks();                                                 \
    if (!(condition)) test::report(__FILE__, __LINE__, "%s", #condition); \
  } while (0)

// CHECK with a printf message for the failure.
#define CHECK_THAT(condition, ...)                                \
  do {                                                            \
    ++test::checks();                                             \
    if (!(condition)) test::report(__FILE__, __LINE__, __VA_ARGS__); \
  } while (0)

#define CHECK_CLOSE(got, expected, relative, absolute)                                                          \
  do {                                                                                                          \
    ++test::checks();                                                                                           \
    const double got_value = (got), expected_value = (expected);                                                \
    if (!test::close(got_value, expected_value, relative, absolute))                                            \
      test::report(__FILE__, __LINE__, "%s: expected %.9g, got %.9g", #got, expected_value, got_value);         \
  } while (0)

// Passes where the statement throws an exception whose text contains `part`.
#define CHECK_THROWS(statement, part)                                                                      \
  do {                                                                                                     \
    ++test::checks();                                                                                      \
    try {                                                                                                  \
      statement;                                                                                           \
      test::report(__FILE__, __LINE__, "expected an error: %s", #statement);                               \
    } catch (const std::exception& error) {                                                                \
      if (!std::strstr(error.what(), part))                                                                \
        test::report(__FILE__, __LINE__, "expected an error with \"%s\", got \"%s\"", part, error.what()); \
    }                                                                                                      \
  } while (0)
