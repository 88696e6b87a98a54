#include "reference.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace reference {
namespace {

using namespace vantage;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double saturate(double x, double low, double high) { return std::isnan(x) ? 0 : x <= low ? low : x >= high ? high : std::trunc(x); }

double as_type(double x, RegisterType type) {
  if (type == RegisterType::f32) return static_cast<float>(x);
  if (type == RegisterType::i32) return saturate(x, INT32_MIN, INT32_MAX);
  return x;
}

int32_t wrap(int64_t x) { return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(x))); }

double integer(const std::string& name, int64_t a, int64_t b, int64_t c) {
  if (name == "add") return wrap(a + b);
  if (name == "sub") return wrap(a - b);
  if (name == "mul") return wrap(a * b);
  if (name == "div") return b == 0 ? 0 : wrap(a / b);
  if (name == "mod") return b == 0 ? 0 : static_cast<double>((a % b + b) % b);
  if (name == "maximum") return static_cast<double>(a > b ? a : b);
  if (name == "minimum") return static_cast<double>(a < b ? a : b);
  if (name == "neg") return wrap(-a);
  if (name == "abs") return wrap(a < 0 ? -a : a);
  if (name == "sign") return a > 0 ? 1 : a < 0 ? -1 : 0;
  if (name == "square") return wrap(a * a);
  if (name == "and_") return a != 0 && b != 0;
  if (name == "or_") return a != 0 || b != 0;
  if (name == "not_") return a == 0;
  if (name == "where") return static_cast<double>(a != 0 ? b : c);
  throw std::runtime_error("the reference has no integer " + name);
}

double floating(const std::string& name, double a, double b, double c) {
  if (name == "add") return a + b;
  if (name == "sub") return a - b;
  if (name == "mul") return a * b;
  if (name == "div") return a / b;
  if (name == "mod") return a - b * std::floor(a / b);
  if (name == "maximum") return std::isnan(a) || std::isnan(b) ? NAN : std::fmax(a, b);
  if (name == "minimum") return std::isnan(a) || std::isnan(b) ? NAN : std::fmin(a, b);
  if (name == "neg") return -a;
  if (name == "abs") return std::fabs(a);
  if (name == "sign") return std::isnan(a) ? NAN : a > 0 ? 1 : a < 0 ? -1 : 0;
  if (name == "square") return a * a;
  if (name == "fma") return a * b + c;
  if (name == "pow") return std::pow(a, b);
  if (name == "exp") return std::exp(a);
  if (name == "expm1") return std::expm1(a);
  if (name == "log") return std::log(a);
  if (name == "log1p") return std::log1p(a);
  if (name == "sqrt") return std::sqrt(a);
  if (name == "rsqrt") return 1 / std::sqrt(a);
  if (name == "sin") return std::sin(a);
  if (name == "cos") return std::cos(a);
  if (name == "tanh") return std::tanh(a);
  if (name == "sigmoid") return 1 / (1 + std::exp(-a));
  if (name == "softplus") return std::isnan(a) ? NAN : std::fmax(a, 0.0) + std::log1p(std::exp(-std::fabs(a)));
  if (name == "floor") return std::floor(a);
  if (name == "ceil") return std::ceil(a);
  if (name == "round") return std::nearbyint(a);
  if (name == "where") return a != 0 ? b : c;
  throw std::runtime_error("the reference has no " + name);
}

double compare(const std::string& name, double a, double b) {
  if (name == "eq") return a == b;
  if (name == "ne") return a != b;
  if (name == "lt") return a < b;
  if (name == "le") return a <= b;
  if (name == "gt") return a > b;
  if (name == "ge") return a >= b;
  if (name == "isnan") return std::isnan(a);
  if (name == "isfinite") return std::isfinite(a);
  throw std::runtime_error("the reference has no comparison " + name);
}

double evaluate(const Instruction& one, double a, double b, double c) {
  const InstructionRow& row = row_of(one.op);
  if (row.kind == Kind::compare) return compare(row.name, a, b);
  if (one.type == RegisterType::i32) return integer(row.name, static_cast<int64_t>(a), static_cast<int64_t>(b), static_cast<int64_t>(c));
  return as_type(floating(row.name, a, b, c), one.type);
}

double fold(Reduction reduction, double total, double x) {
  switch (reduction) {
    case Reduction::sum: return total + x;
    case Reduction::product: return total * x;
    case Reduction::maximum: return floating("maximum", total, x, 0);
    default: return floating("minimum", total, x, 0);
  }
}

double identity(const Output& out) {
  const bool integer = out.type == RegisterType::i32;
  switch (out.reduction) {
    case Reduction::sum: return 0;
    case Reduction::spread: return 0;
    case Reduction::product: return 1;
    case Reduction::maximum: return integer ? INT32_MIN : -kInfinity;
    default: return integer ? INT32_MAX : kInfinity;
  }
}

double spread(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (double x : values) sum += x;
  const double mean = values.empty() ? 0 : sum / static_cast<double>(values.size());
  for (double x : values) squares += (x - mean) * (x - mean);
  return squares;
}

// Runs every instruction at the times [0, length) of one row.
class Walk {
 public:
  Walk(const Program& program, void* const* slots, const double* scalars) : p_(program), slots_(slots), scalars_(scalars) {
    length_ = p_.sequential ? p_.shape[p_.ndim - 1] : 1;
    registers_.assign(p_.registers, std::vector<double>(static_cast<size_t>(length_)));
  }

  void row(const int64_t* index) {
    for (size_t i = 0; i < p_.instructions.size(); ++i) {
      const Instruction& one = p_.instructions[i];
      if (one.op == Op::loop) {
        loop(index, i);
        i += static_cast<size_t>(one.b);
      } else if (one.op == Op::scan || one.op == Op::scan_prev) {
        scan(one);
      } else {
        for (int64_t t = 0; t < length_; ++t) at(index, one, t);
      }
    }
  }

  double value(int reg, int64_t t) const { return registers_[reg][t]; }
  int64_t length() const { return length_; }

  int64_t offset(int view, const int64_t* index, int64_t t) const {
    int64_t total = p_.views[view].offset;
    const int dims = p_.sequential ? p_.ndim - 1 : p_.ndim;
    for (int d = 0; d < dims; ++d) total += index[d] * p_.views[view].strides[d];
    return p_.sequential ? total + t * p_.views[view].strides[p_.ndim - 1] : total;
  }

 private:
  int64_t time(int64_t step) const { return p_.reverse ? length_ - 1 - step : step; }

  void at(const int64_t* index, const Instruction& one, int64_t t) {
    double& dst = registers_[one.dst][t];
    const auto operand = [&](int reg) { return reg >= 0 && reg < p_.registers ? registers_[reg][t] : 0.0; };
    if (one.op == Op::load) dst = as_type(load(slots_[p_.views[one.a].slot], p_.views[one.a].dtype, offset(one.a, index, t)), one.type);
    else if (one.op == Op::constant) dst = as_type(scalars_[one.a], one.type);
    else if (one.op == Op::cast) dst = as_type(registers_[one.a][t], one.type);
    else dst = evaluate(one, operand(one.a), operand(one.b), operand(one.c));
  }

  void scan(const Instruction& one) {
    if (length_ == 0) return;
    double state = registers_[one.c][time(0)];
    for (int64_t step = 0; step < length_; ++step) {
      const int64_t t = time(step);
      const double factor = registers_[one.a][t], next = factor == 0 ? registers_[one.b][t] : factor * state + registers_[one.b][t];
      registers_[one.dst][t] = as_type(one.op == Op::scan ? next : state, one.type);
      state = next;
    }
  }

  void loop(const int64_t* index, size_t i) {
    const size_t end = i + 1 + static_cast<size_t>(p_.instructions[i].b);
    for (int64_t step = 0; step < length_; ++step) {
      const int64_t t = time(step);
      for (size_t k = i + 1; k < end; ++k) {
        const Instruction& one = p_.instructions[k];
        if (one.op == Op::state) registers_[one.dst][t] = step == 0 ? registers_[one.c][t] : registers_[one.a][time(step - 1)];
        else at(index, one, t);
      }
    }
  }

  const Program& p_;
  void* const* slots_;
  const double* scalars_;
  int64_t length_;
  std::vector<std::vector<double>> registers_;
};

}  // namespace

double load(const void* base, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f32: return static_cast<const float*>(base)[i];
    case DType::f64: return static_cast<const double*>(base)[i];
    case DType::i32: return static_cast<const int32_t*>(base)[i];
    case DType::u8: return static_cast<const uint8_t*>(base)[i];
    case DType::boolean: return static_cast<const uint8_t*>(base)[i] != 0;
    default: {
      const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(base)[i]) << 16;
      float x;
      std::memcpy(&x, &bits, 4);
      return x;
    }
  }
}

void store(void* base, DType dtype, int64_t i, double value) {
  switch (dtype) {
    case DType::f32: static_cast<float*>(base)[i] = static_cast<float>(value); return;
    case DType::f64: static_cast<double*>(base)[i] = value; return;
    case DType::i32: static_cast<int32_t*>(base)[i] = static_cast<int32_t>(saturate(value, INT32_MIN, INT32_MAX)); return;
    case DType::u8: static_cast<uint8_t*>(base)[i] = static_cast<uint8_t>(saturate(value, 0, 255)); return;
    case DType::boolean: static_cast<uint8_t*>(base)[i] = value != 0; return;
    default: {
      // Of the two neighbours the nearer one, of equal distances the even one.
      const float x = static_cast<float>(value);
      uint32_t bits;
      std::memcpy(&bits, &x, 4);
      uint32_t upper = bits >> 16;
      const uint32_t rest = bits & 0xFFFFu;
      if (std::isnan(x)) upper |= 0x40u;
      else if (rest > 0x8000u || (rest == 0x8000u && (upper & 1u))) ++upper;
      static_cast<uint16_t*>(base)[i] = static_cast<uint16_t>(upper);
    }
  }
}

void run(const Program& p, void* const* slots, const double* scalars) {
  int64_t index[kMaxDims] = {};
  const int dims = p.sequential ? p.ndim - 1 : p.ndim;
  int64_t kept = 1, rows = 1;
  for (int d = 0; d < p.ndim; ++d) {
    if (d < p.outer || d >= p.outer + p.reduced) kept *= p.shape[d];
    if (d < dims) rows *= p.shape[d];
  }
  std::vector<std::vector<double>> folded(p.outputs.size());
  std::vector<std::vector<std::vector<double>>> spread_over(p.outputs.size());
  std::vector<std::vector<int64_t>> place(p.outputs.size());
  for (size_t k = 0; k < p.outputs.size(); ++k) {
    folded[k].assign(static_cast<size_t>(kept), identity(p.outputs[k]));
    spread_over[k].resize(p.outputs[k].reduction == Reduction::spread ? static_cast<size_t>(kept) : 0);
    place[k].resize(static_cast<size_t>(kept));
    for (int64_t i = 0; i < kept; ++i) {
      int64_t rest = i, at = p.views[p.outputs[k].view].offset;
      for (int d = p.ndim - 1; d >= 0; --d) {
        if (d >= p.outer && d < p.outer + p.reduced) continue;
        at += rest % p.shape[d] * p.views[p.outputs[k].view].strides[d];
        rest /= p.shape[d];
      }
      place[k][i] = at;
    }
  }
  Walk walk(p, slots, scalars);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t rest = row, keep = 0, scale = 1;
    for (int d = dims - 1; d >= 0; --d) {
      index[d] = rest % p.shape[d];
      rest /= p.shape[d];
      if (d >= p.outer && d < p.outer + p.reduced) continue;
      keep += index[d] * scale;
      scale *= p.shape[d];
    }
    walk.row(index);
    for (size_t k = 0; k < p.outputs.size(); ++k) {
      const Output& out = p.outputs[k];
      for (int64_t t = 0; t < walk.length(); ++t) {
        const double x = walk.value(out.reg, t);
        if (out.reduction == Reduction::store)
          store(slots[p.views[out.view].slot], p.views[out.view].dtype, walk.offset(out.view, index, t), x);
        else if (out.reduction == Reduction::spread) spread_over[k][keep].push_back(x);
        else folded[k][keep] = fold(out.reduction, folded[k][keep], x);
      }
    }
  }
  for (size_t k = 0; k < p.outputs.size(); ++k) {
    const Output& out = p.outputs[k];
    if (out.reduction == Reduction::store) continue;
    if (out.reduction == Reduction::spread) {
      for (int64_t i = 0; i < kept; ++i) folded[k][i] = spread(spread_over[k][i]);
    }
    for (int64_t i = 0; i < kept; ++i) store(slots[p.views[out.view].slot], p.views[out.view].dtype, place[k][i], folded[k][i]);
  }
}

}  // namespace reference
