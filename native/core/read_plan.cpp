// Reads a plan, trusting nothing in it.
#include "plan.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "aliasing.h"
#include "error.h"
#include "kernel_memory.h"

namespace vantage {
namespace {

constexpr int64_t kLargest = int64_t{1} << 53;    // the integers that a double holds exactly
constexpr int64_t kMaxElements = int64_t{1} << 40;  // of one view or program
constexpr int64_t kMaxCount = 1 << 24;            // of slots, scalars, records
constexpr int64_t kAlignment = 64;

constexpr const char* kTypeNames[] = {"float32", "float64", "int32"};

class Reader {
 public:
  Reader(const double* words, size_t count) : words_(words), count_(count) {}

  Plan plan() {
    if (count_ > static_cast<size_t>(kMaxElements)) fail("plan: too many words");
    integer("version", 1, 1);
    const int64_t slots = integer("number of slots", 0, kMaxCount);
    plan_.scalars = static_cast<int>(integer("number of scalars", 0, kMaxCount));
    plan_.arena_bytes = integer("arena bytes", 0, kLargest);
    const int64_t records = integer("number of records", 0, kMaxCount * 16);
    for (int64_t i = 0; i < slots; ++i) slot();
    written_.assign(static_cast<size_t>(slots), false);
    for (int64_t i = 0; i < records; ++i) {
      place_ = "record " + std::to_string(i) + ", ";
      record();
    }
    place_.clear();
    if (at_ != count_) fail("plan: expected %zu words, got %zu", at_, count_);
    find_use(plan_);
    return std::move(plan_);
  }

 private:
  [[noreturn]] void wrong(const char* what, const char* expected, double got) {
    fail("plan word %zu (%s%s): expected %s, got %.17g", at_ - 1, place_.c_str(), what, expected, got);
  }

  double number(const char* what) {
    if (at_ >= count_) fail("plan: ends at word %zu, before %s%s", count_, place_.c_str(), what);
    return words_[at_++];
  }

  int64_t integer(const char* what, int64_t low, int64_t high) {
    const double value = number(what);
    if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) || value != std::trunc(value)) {
      wrong(what, ("an integer in [" + std::to_string(low) + ", " + std::to_string(high) + "]").c_str(), value);
    }
    return static_cast<int64_t>(value);
  }
  // An index below `limit`.
  int index(const char* what, int64_t limit) {
    if (limit == 0) fail("plan word %zu (%s%s): there is none to name", at_, place_.c_str(), what);
    return static_cast<int>(integer(what, 0, limit - 1));
  }
  int count(const char* what, int64_t low, int64_t high) { return static_cast<int>(integer(what, low, high)); }
  DType dtype() { return static_cast<DType>(integer("dtype", 0, kDTypes - 1)); }

  void slot() {
    Slot slot;
    slot.bytes = integer("slot bytes", 0, kLargest);
    slot.arena_offset = integer("arena offset", -1, kLargest);
    if (slot.arena_offset < 0) {
      ++plan_.external_slots;
    } else {
      if (slot.arena_offset % kAlignment != 0) wrong("arena offset", "a multiple of 64", static_cast<double>(slot.arena_offset));
      if (slot.arena_offset + slot.bytes > plan_.arena_bytes) {
        fail("plan word %zu: a slot of %lld bytes at %lld is outside the arena of %lld bytes", at_ - 1, static_cast<long long>(slot.bytes),
             static_cast<long long>(slot.arena_offset), static_cast<long long>(plan_.arena_bytes));
      }
    }
    plan_.slots.push_back(slot);
  }

  void record() {
    const int tag = count("tag", 0, 1);
    const int64_t words = integer("words of the record", 0, kLargest);
    const size_t start = at_;
    if (words > static_cast<int64_t>(count_ - at_))
      fail("plan: ends at word %zu, inside %sof %lld words", count_, place_.c_str(), static_cast<long long>(words));
    if (tag == 0) program();
    else kernel();
    if (at_ - start != static_cast<size_t>(words)) {
      fail("plan word %zu: %sexpected to hold %lld words, holds %zu", start - 1, place_.c_str(), static_cast<long long>(words),
           at_ - start);
    }
  }

  void shape(int ndim, int64_t* shape) {
    int64_t total = 1;
    bool empty = false;
    for (int d = 0; d < ndim; ++d) {
      shape[d] = integer("shape", 0, kMaxElements);
      empty |= shape[d] == 0;
      // Checked with the zeros left out, so that the product of any of the dimensions is in range.
      if (shape[d] != 0 && __builtin_mul_overflow(total, shape[d], &total)) total = kMaxElements + 1;
      if (total > kMaxElements) wrong("shape", "at most 2^40 elements", static_cast<double>(shape[d]));
    }
  }

  // Reads `slot, dtype, offset` … of a view over `shape`, whose strides are in `strides`, and checks that it is inside its slot.
  Extent extent(int slot, DType dtype, int64_t offset, int ndim, const int64_t* shape, const int64_t* strides) {
    int64_t low = offset, high = offset;
    for (int d = 0; d < ndim; ++d) {
      if (shape[d] == 0) return {};
      int64_t span;
      if (__builtin_mul_overflow(shape[d] - 1, strides[d], &span) ||
          __builtin_add_overflow(span < 0 ? low : high, span, span < 0 ? &low : &high)) {
        fail("plan word %zu: %sthe view's extent overflows", at_ - 1, place_.c_str());
      }
    }
    const int64_t size = static_cast<int64_t>(byte_size(dtype));
    const int64_t capacity = plan_.slots[slot].bytes / size;
    if (low < 0 || high >= capacity) {
      fail("plan word %zu: %sthe view covers elements [%lld, %lld] of slot %d, which holds %lld of %s", at_ - 1, place_.c_str(),
           static_cast<long long>(low), static_cast<long long>(high), slot, static_cast<long long>(capacity), name_of(dtype));
    }
    return {low * size, (high + 1) * size};
  }

  void program() {
    Program p;
    p.ndim = count("ndim", 0, kMaxDims);
    shape(p.ndim, p.shape);
    p.outer = count("outer", 0, p.ndim);
    p.reduced = count("reduced", 0, p.ndim - p.outer);
    p.sequential = count("sequential", 0, 1);
    p.reverse = count("reverse", 0, 1);
    if (p.sequential && (p.reduced != 1 || p.outer + 1 != p.ndim)) {
      fail("plan word %zu: %sa sequential program runs along its last dimension: expected reduced = 1 and outer = %d, got %d and %d",
           at_ - 1, place_.c_str(), p.ndim - 1, p.reduced, p.outer);
    }
    p.registers = count("registers", 0, kMaxRegisters);
    const int views = count("number of views", 0, kMaxViews);
    extents_.clear();
    for (int i = 0; i < views; ++i) {
      ProgramView view = {};
      view.slot = index("view slot", static_cast<int64_t>(plan_.slots.size()));
      view.dtype = dtype();
      view.offset = integer("view offset", 0, kLargest);
      for (int d = 0; d < p.ndim; ++d) view.strides[d] = integer("view stride", -kLargest, kLargest);
      extents_.push_back(extent(view.slot, view.dtype, view.offset, p.ndim, p.shape, view.strides));
      p.views.push_back(view);
    }
    instructions(p);
    const int outputs = count("number of outputs", 0, kMaxOutputs);
    for (int i = 0; i < outputs; ++i) output(p);
    aliasing(p);
    for (const Instruction& one : p.instructions) if (one.op == Op::load && extents_[one.a].end > 0) reads(p.views[one.a].slot);
    for (const Output& out : p.outputs) written_[p.views[out.view].slot] = true;
    plan_.records.emplace_back(std::move(p));
  }

  // What a plan keeps for itself holds nothing before one of its records has written it.
  void reads(int slot) {
    if (plan_.slots[slot].arena_offset >= 0 && !written_[slot]) fail("plan: %sslot %d is read before anything is written to it", place_.c_str(), slot);
  }

  // ---- Instructions -------------------------------------------------------------------------------------------------------

  void expect_type(const Instruction& instruction, int reg, RegisterType type) {
    const int defined = types_[reg];
    if (defined == static_cast<int>(type)) return;
    fail("plan word %zu: %s%s expects register %d to hold %s, got %s", at_ - 1, place_.c_str(), kOpNames[static_cast<int>(instruction.op)],
         reg, kTypeNames[static_cast<int>(type)], defined < 0 ? "one not yet written" : kTypeNames[defined]);
  }

  void instructions(Program& p) {
    const int total = count("number of instructions", 0, kMaxInstructions);
    types_.assign(p.registers, -1);
    int block_end = -1;
    bool at_block_head = false;
    size_t block_begin = 0;
    for (int i = 0; i < total; ++i) {
      Instruction one;
      one.op = static_cast<Op>(integer("instruction", 0, static_cast<int>(Op::count) - 1));
      one.type = static_cast<RegisterType>(integer("register type", 0, kRegisterTypes - 1));
      const bool defines = one.op != Op::loop;
      one.dst = defines ? index("destination register", p.registers) : static_cast<int>(integer("destination register", -1, kMaxRegisters));
      int* const operands[] = {&one.a, &one.b, &one.c};
      for (int k = 0; k < 3; ++k) *operands[k] = operand(p, one, k, total - 1 - i);
      const bool in_block = i < block_end;
      switch (one.op) {
        case Op::load:
        case Op::constant: break;
        case Op::cast: expect_type(one, one.a, static_cast<RegisterType>(one.b)); break;
        case Op::scan:
        case Op::scan_prev:
          if (!p.sequential || in_block)
            fail("plan word %zu: %s%s belongs in a sequential program, outside a loop", at_ - 1, place_.c_str(),
                 kOpNames[static_cast<int>(one.op)]);
          for (int* reg : operands) expect_type(one, *reg, one.type);
          break;
        case Op::loop:
          if (!p.sequential || in_block)
            fail("plan word %zu: %sloop belongs in a sequential program, outside another loop", at_ - 1, place_.c_str());
          block_end = i + 1 + one.b;
          block_begin = p.instructions.size() + 1;
          at_block_head = true;
          break;
        case Op::state:
          if (!in_block || !at_block_head) fail("plan word %zu: %sstate belongs at the head of a loop", at_ - 1, place_.c_str());
          expect_type(one, one.c, one.type);
          break;
        default: arithmetic(one);
      }
      if (one.op != Op::state && one.op != Op::loop) at_block_head = false;
      if (in_block) check_not_redefined(p, one, block_begin);
      if (defines) types_[one.dst] = static_cast<int>(result_type(one));
      p.instructions.push_back(one);
      if (i + 1 == block_end) close_block(p, block_begin);
    }
  }

  // Inside a loop a register has one value for each element, so it is written once there, and not used by the block before that.
  void check_not_redefined(const Program& p, const Instruction& one, size_t begin) {
    for (size_t k = begin; k < p.instructions.size(); ++k) {
      const Instruction& other = p.instructions[k];
      bool clash = other.dst == one.dst || (other.op == Op::state && other.c == one.dst);
      if (other.op != Op::state) {
        const int used = register_operands(other.op);
        const int operands[] = {other.a, other.b, other.c};
        for (int o = 0; o < used; ++o) clash |= operands[o] == one.dst;
      }
      if (clash) fail("plan word %zu: %sregister %d is written again inside a loop", at_ - 1, place_.c_str(), one.dst);
    }
  }

  void close_block(const Program& p, size_t begin) {
    if (begin >= p.instructions.size() || p.instructions[begin].op != Op::state) {
      fail("plan word %zu: %sa loop begins with its states", at_ - 1, place_.c_str());
    }
    for (size_t k = begin; k < p.instructions.size() && p.instructions[k].op == Op::state; ++k) {
      const Instruction& state = p.instructions[k];
      expect_type(state, state.a, state.type);
      const bool inside =
          std::any_of(p.instructions.begin() + begin, p.instructions.end(), [&](const Instruction& one) { return one.dst == state.a; });
      const bool init_inside =
          std::any_of(p.instructions.begin() + begin, p.instructions.end(), [&](const Instruction& one) { return one.dst == state.c; });
      if (!inside || init_inside) {
        fail("plan word %zu: %sthe next state (register %d) is computed in the loop, its first value (register %d) outside", at_ - 1,
             place_.c_str(), state.a, state.c);
      }
    }
  }

  static int register_operands(Op op) {
    switch (op) {
      case Op::load:
      case Op::constant:
      case Op::loop:
      case Op::state: return 0;
      case Op::cast: return 1;
      case Op::scan:
      case Op::scan_prev: return 3;
      default: return row_of(op).operands;
    }
  }

  // Operand k, in its range. A register must have been written, except that a state names one that its block writes later.
  int operand(const Program& p, const Instruction& one, int k, int rows_left) {
    static constexpr const char* names[] = {"operand a", "operand b", "operand c"};
    const char* name = names[k];
    if (one.op == Op::load && k == 0) return index(name, static_cast<int64_t>(p.views.size()));
    if (one.op == Op::constant && k == 0) return index(name, plan_.scalars);
    if (one.op == Op::cast && k == 1) return static_cast<int>(integer(name, 0, kRegisterTypes - 1));
    if (one.op == Op::loop && k == 1) {
      if (rows_left == 0) fail("plan word %zu: %sa loop is the last instruction: it has no block", at_, place_.c_str());
      return static_cast<int>(integer(name, 1, rows_left));
    }
    const bool reg = k < register_operands(one.op) || (one.op == Op::state && k != 1);
    if (reg) return index(name, p.registers);
    integer(name, -kLargest, kLargest);  // a word without meaning here
    return 0;
  }

  void arithmetic(const Instruction& one) {
    const InstructionRow& info = row_of(one.op);
    const bool integer_type = one.type == RegisterType::i32;
    if ((info.kind == Kind::floating && integer_type) || (info.kind == Kind::logical && !integer_type)) {
      fail("plan word %zu: %s%s is not defined on %s", at_ - 1, place_.c_str(), info.name, kTypeNames[static_cast<int>(one.type)]);
    }
    const int operands[] = {one.a, one.b, one.c};
    for (int k = 0; k < info.operands; ++k) {
      expect_type(one, operands[k], info.kind == Kind::select && k == 0 ? RegisterType::i32 : one.type);
    }
  }

  static RegisterType result_type(const Instruction& one) {
    const bool comparison = static_cast<int>(one.op) >= kFirstInstruction && row_of(one.op).kind == Kind::compare;
    return comparison ? RegisterType::i32 : one.type;
  }

  // ---- Outputs --------------------------------------------------------------------------------------------------------------

  void output(Program& p) {
    Output out;
    out.reduction = static_cast<Reduction>(integer("reduction", 0, 5));
    out.type = static_cast<RegisterType>(integer("output type", 0, kRegisterTypes - 1));
    out.reg = index("output register", p.registers);
    if (types_[out.reg] != static_cast<int>(out.type)) {
      fail("plan word %zu: %san output expects register %d to hold %s, got %s", at_ - 1, place_.c_str(), out.reg,
           kTypeNames[static_cast<int>(out.type)], types_[out.reg] < 0 ? "one never written" : kTypeNames[types_[out.reg]]);
    }
    out.view = index("output view", static_cast<int64_t>(p.views.size()));
    const bool store = out.reduction == Reduction::store;
    if (!store && p.reduced == 0) fail("plan word %zu: %sa reduction needs dimensions to reduce, got reduced = 0", at_ - 1, place_.c_str());
    if (out.reduction == Reduction::spread && (out.type != RegisterType::f32 || p.outer + p.reduced != p.ndim)) {
      fail("plan word %zu: %sa spread is one of float32 over the last dimensions, got %s over dimensions %d to %d of %d", at_ - 1, place_.c_str(),
           kTypeNames[static_cast<int>(out.type)], p.outer, p.outer + p.reduced - 1, p.ndim);
    }
    check_writable(p, out, store);
    out.passing = plan_.slots[p.views[out.view].slot].arena_offset >= 0;
    p.outputs.push_back(out);
  }

  // No two elements of an output may share a place: sorted by size, each stride steps over all that the smaller ones reach.
  void check_writable(const Program& p, const Output& out, bool store) {
    const int64_t* strides = p.views[out.view].strides;
    std::vector<int> dims;
    for (int d = 0; d < p.ndim; ++d) {
      const bool folded = !store && d >= p.outer && d < p.outer + p.reduced;
      if (folded && strides[d] != 0) {
        fail("plan word %zu: %sa reduction's view has stride 0 along the reduced dimension %d, got %lld", at_ - 1, place_.c_str(), d,
             static_cast<long long>(strides[d]));
      }
      if (p.shape[d] == 0 && !folded) return;
      if (!folded && p.shape[d] > 1) dims.push_back(d);
    }
    std::sort(dims.begin(), dims.end(), [&](int a, int b) { return std::abs(strides[a]) < std::abs(strides[b]); });
    int64_t reach = 0;
    for (int d : dims) {
      const int64_t step = std::abs(strides[d]);
      if (step <= reach)
        fail("plan word %zu: %san output view overlaps itself (stride %lld of dimension %d)", at_ - 1, place_.c_str(),
             static_cast<long long>(strides[d]), d);
      // An empty reduced dimension leaves the view's extent unchecked, but what is written must be inside all the same.
      int64_t span;
      if (__builtin_mul_overflow(p.shape[d] - 1, step, &span) || __builtin_add_overflow(reach, span, &reach)) {
        fail("plan word %zu: %sthe view's extent overflows", at_ - 1, place_.c_str());
      }
    }
    if (!store) {
      int64_t kept[kMaxDims];
      for (int d = 0; d < p.ndim; ++d) kept[d] = d >= p.outer && d < p.outer + p.reduced ? 1 : p.shape[d];
      const ProgramView& view = p.views[out.view];
      extents_[out.view] = extent(view.slot, view.dtype, view.offset, p.ndim, kept, view.strides);
    }
  }

  void aliasing(const Program& p) {
    for (const Output& out : p.outputs) {
      const int read = clashing_view(plan_, p, extents_, out.view);
      if (read >= 0) fail("plan: %sview %d is written while view %d reads the same memory in another layout", place_.c_str(), out.view, read);
    }
  }

  // ---- Kernels ----------------------------------------------------------------------------------------------------------------

  void kernel() {
    KernelRecord record = {};
    record.kernel = static_cast<Kernel>(integer("kernel", 0, static_cast<int>(Kernel::count) - 1));
    const KernelRow& row = kKernelRows[static_cast<int>(record.kernel)];
    for (int i = 0; i < row.views; ++i) {
      TensorView& view = record.views[i];
      record.slots[i] = index("view slot", static_cast<int64_t>(plan_.slots.size()));
      view.dtype = dtype();
      record.offsets[i] = integer("view offset", 0, kLargest);
      view.ndim = count("view ndim", 0, kMaxDims);
      shape(view.ndim, view.shape);
      for (int d = 0; d < view.ndim; ++d) view.strides[d] = integer("view stride", -kLargest, kLargest);
      extent(record.slots[i], view.dtype, record.offsets[i], view.ndim, view.shape, view.strides);
    }
    for (int i = 0; i < row.scalars; ++i) record.scalars[i] = index("scalar", plan_.scalars);
    for (int i = 0; i < row.attributes; ++i) record.attributes[i] = number("attribute");
    check_kernel_memory(place_.c_str(), record, plan_.slots);
    const unsigned written = written_views(record.kernel);
    for (int i = 0; i < row.views; ++i) if ((written >> i & 1u) == 0 && record.views[i].size() > 0) reads(record.slots[i]);
    for (int i = 0; i < row.views; ++i) if (written >> i & 1u) written_[record.slots[i]] = true;
    plan_.records.emplace_back(record);
  }

  const double* words_;
  size_t count_;
  size_t at_ = 0;
  std::string place_;
  Plan plan_;
  std::vector<bool> written_;    // of each slot: whether a record has written to it
  std::vector<int> types_;       // of each register, -1 before it is written
  std::vector<Extent> extents_;  // of each view of the program that is read
};

}  // namespace

Plan read_plan(const double* words, size_t count) { return Reader(words, count).plan(); }

}  // namespace vantage
