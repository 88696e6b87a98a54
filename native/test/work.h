// Plans over buffers that hold something small, one for each kernel that allocates or uses several threads: what tests run when it is not the numbers that are asked for.
#pragma once
#include <string>
#include <vector>

#include "../core/error.h"
#include "../core/plan.h"
#include "../cpu/allocator.h"
#include "../cpu/backend.h"

namespace test {

using namespace vantage;

using Bytes = std::vector<char>;

struct Argument {
  DType dtype;
  std::vector<int64_t> shape;
};

// A plan of one kernel over external buffers that hold something small.
struct Work {
  std::vector<double> words;
  std::vector<int64_t> bytes;
  std::vector<DType> dtypes;
  std::vector<double> scalars;
};

inline int64_t product(const std::vector<int64_t>& shape) {
  int64_t total = 1;
  for (const int64_t extent : shape) total *= extent;
  return total;
}

inline Work kernel(Kernel kernel, const std::vector<Argument>& arguments, const std::vector<double>& scalars, const std::vector<double>& attributes = {}) {
  Work work;
  work.scalars = scalars;
  work.words = {1, static_cast<double>(arguments.size()), static_cast<double>(scalars.size()), 0, 1};
  std::vector<double> body = {static_cast<double>(kernel)};
  for (const Argument& argument : arguments) {
    work.bytes.push_back(product(argument.shape) * static_cast<int64_t>(byte_size(argument.dtype)));
    work.dtypes.push_back(argument.dtype);
    work.words.push_back(static_cast<double>(work.bytes.back()));
    work.words.push_back(-1);
    body.insert(body.end(), {static_cast<double>(work.bytes.size() - 1), static_cast<double>(argument.dtype), 0, static_cast<double>(argument.shape.size())});
    for (const int64_t extent : argument.shape) body.push_back(static_cast<double>(extent));
    int64_t stride = product(argument.shape);
    for (const int64_t extent : argument.shape) body.push_back(static_cast<double>(stride /= extent));
  }
  for (size_t i = 0; i < scalars.size(); ++i) body.push_back(static_cast<double>(i));
  body.insert(body.end(), attributes.begin(), attributes.end());
  work.words.insert(work.words.end(), {1, static_cast<double>(body.size())});
  work.words.insert(work.words.end(), body.begin(), body.end());
  return work;
}

inline int op(const char* name) {
  for (int i = 0; kFirstInstruction + i < static_cast<int>(Op::count); ++i) {
    if (std::string(kInstructionRows[i].name) == name) return kFirstInstruction + i;
  }
  return -1;
}

// y = x·s + x over [256, 300], by way of the arena, and the sums of y over the last dimension: enough for several threads.
inline Work program() {
  constexpr double rows = 256, columns = 300, elements = rows * columns, arena = elements * 4;
  const double multiply = op("mul"), add = op("add");
  Work work;
  work.bytes = {static_cast<int64_t>(arena), static_cast<int64_t>(rows * 4)};
  work.dtypes = {DType::f32, DType::f32};
  work.scalars = {0.75};
  const std::vector<double> first = {2, rows, columns, 2, 0, 0, 0, 4, 2, 0, 0, 0, columns, 1, 1, 0, 0, columns, 1,
                                     4, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, multiply, 0, 2, 0, 1, 0, add, 0, 3, 2, 0, 0, 1, 0, 0, 3, 1};
  const std::vector<double> second = {2, rows, columns, 1, 1, 0, 0, 1, 2, 1, 0, 0, columns, 1, 2, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1};
  work.words = {1, 3, 1, arena, 2, arena, -1, arena, 0, rows * 4, -1};
  for (const auto& record : {first, second}) {
    work.words.insert(work.words.end(), {0, static_cast<double>(record.size())});
    work.words.insert(work.words.end(), record.begin(), record.end());
  }
  return work;
}

inline void fill(void* memory, int64_t bytes, DType dtype, size_t buffer) {
  for (int64_t i = 0; i < bytes / static_cast<int64_t>(byte_size(dtype)); ++i) {
    const double value = static_cast<double>((i * 7 + static_cast<int64_t>(buffer) * 5) % 11) / 8 - 0.5;
    if (dtype == DType::f32) static_cast<float*>(memory)[i] = static_cast<float>(value);
    else if (dtype == DType::f64) static_cast<double*>(memory)[i] = value;
    else if (dtype == DType::i32) static_cast<int32_t*>(memory)[i] = static_cast<int32_t>(i % 3);
    else static_cast<uint8_t*>(memory)[i] = i % 5 != 0;
  }
}

// Reads the plan, takes the buffers from the allocator, runs it, and gives what all of them hold then.
inline Bytes run(const Work& work) {
  struct Owned {
    std::vector<ExternalBuffer> list;
    ~Owned() {
      for (const ExternalBuffer& one : list) cpu::release(one.data, static_cast<size_t>(one.bytes));
    }
  } owned;
  const Plan plan = read_plan(work.words.data(), work.words.size());
  owned.list.reserve(work.bytes.size());
  for (size_t i = 0; i < work.bytes.size(); ++i) {
    void* const memory = cpu::allocate(static_cast<size_t>(work.bytes[i]));
    if (!memory) fail("out of memory");
    owned.list.push_back({memory, work.bytes[i]});
    fill(memory, work.bytes[i], work.dtypes[i], i);
  }
  execute(plan, cpu::backend(), owned.list.data(), owned.list.size(), work.scalars.data(), work.scalars.size());
  Bytes result;
  for (const ExternalBuffer& one : owned.list) result.insert(result.end(), static_cast<char*>(one.data), static_cast<char*>(one.data) + one.bytes);
  return result;
}

inline uint64_t hash(const Bytes& bytes) {
  uint64_t value = 14695981039346656037u;
  for (const char byte : bytes) value = (value ^ static_cast<uint8_t>(byte)) * 1099511628211u;
  return value;
}

struct NamedWork {
  const char* group;
  const char* name;
  Work work;
};

inline std::vector<NamedWork> works() {
  constexpr DType f32 = DType::f32, f64 = DType::f64, i32 = DType::i32, u8 = DType::u8;
  std::vector<NamedWork> all;
  all.push_back({"programs", "program", program()});
  {
    all.push_back({"products", "matmul", kernel(Kernel::matmul, {{f32, {90, 130}}, {f32, {130, 70}}, {f32, {90, 70}}}, {})});
    const Argument q = {f32, {2, 4, 9, 16}}, k = {f32, {2, 2, 20, 16}}, lse = {f32, {2, 4, 9}}, start = {i32, {2}};
    all.push_back({"products", "attention", kernel(Kernel::attention, {q, k, k, start, q, lse}, {0.25, 11})});
    all.push_back({"products", "attention_backward", kernel(Kernel::attention_backward, {q, k, k, start, q, lse, q, q, k, k}, {0.25, 11})});
  }
  {
    const Argument logits = {f32, {40, 700}}, ids = {i32, {40}}, row = {f32, {40}};
    all.push_back({"logits", "softmax", kernel(Kernel::softmax, {logits, logits}, {}, {1})});
    all.push_back({"logits", "token_log_probs", kernel(Kernel::token_log_probs, {logits, ids, row, row, row}, {1})});
    all.push_back({"logits", "token_log_probs_backward", kernel(Kernel::token_log_probs_backward, {logits, ids, row, row, row, row, logits}, {1})});
    all.push_back({"logits", "token_policy_gradient", kernel(Kernel::token_policy_gradient, {logits, ids, row, row, row, row, row, row, row, logits}, {1, 0.2, 0.2, 3, 10, 0.01, 0.01}, {0})});
    all.push_back({"logits", "sample", kernel(Kernel::sample, {logits, ids, row}, {0.7, 0.9, 0.01, 50, 1, 2, 3})});
  }
  {
    const Argument x = {f32, {60, 400}}, mask = {u8, {60, 400}}, ends = {u8, {60, 400}}, row = {f32, {60}}, moments = {f64, {60, 3}};
    all.push_back({"sequences", "gae", kernel(Kernel::gae, {x, x, mask, ends, x, x, x, moments}, {0.99, 0.95})});
    all.push_back({"sequences", "discounted_return", kernel(Kernel::discounted_return, {x, mask, x, moments}, {0.99})});
    all.push_back({"sequences", "vtrace", kernel(Kernel::vtrace, {x, x, x, x, mask, row, x, x}, {0.99, 0.95, 1, 1, 1})});
    all.push_back({"sequences", "affine_scan", kernel(Kernel::affine_scan, {x, x, row, x}, {}, {0})});
    all.push_back({"sequences", "masked_moments", kernel(Kernel::masked_moments, {x, mask, moments}, {})});
    all.push_back({"sequences", "whiten", kernel(Kernel::whiten, {x, mask, moments, x}, {1e-8, 1}, {0})});
  }
  {
    const Argument x = {f32, {50, 300}}, index = {i32, {50, 300}};
    all.push_back({"indices", "gather", kernel(Kernel::gather, {x, index, x}, {}, {1})});
    all.push_back({"indices", "scatter_add", kernel(Kernel::scatter_add, {index, x, x}, {}, {1})});
  }
  all.push_back({"random_numbers", "philox", kernel(Kernel::philox, {{f32, {60, 400}}}, {1, 2, 3}, {2})});
  return all;
}

}  // namespace test
