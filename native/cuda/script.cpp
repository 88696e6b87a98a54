#include "script.h"

#include <cstring>

#include "../core/math.h"

namespace vantage::cuda {
namespace {

// Values are numbered by the instruction that makes them; a constant is an operand by itself.
class Writer {
 public:
  Writer(const Program& program, const Layout& layout) : program_(program), layout_(layout), value_(program.registers, 0) {}

  void write() {
    const auto& all = program_.instructions;
    for (size_t i = 0; i < all.size();) {
      if (all[i].op != Op::loop) {
        add(all[i++]);
        continue;
      }
      // What a block loads is loaded for all elements in front of it.
      const size_t end = i + 1 + static_cast<size_t>(all[i].b);
      for (size_t k = i + 1; k < end; ++k) {
        if (all[k].op == Op::load || all[k].op == Op::constant) add(all[k]);
      }
      const size_t loop = code_.size();
      code_.push_back({static_cast<uint8_t>(Op::loop), 0, 0, 0, 0, 0, 0, 0, 0, 0});
      for (size_t k = i + 1; k < end; ++k) {
        if (all[k].op != Op::load && all[k].op != Op::constant) add(all[k]);
      }
      code_[loop].block = static_cast<uint16_t>(code_.size() - loop - 1);
      for (size_t k = loop + 1; k < code_.size(); ++k) {
        if (code_[k].op == static_cast<uint8_t>(Op::state)) code_[k].a = static_cast<uint16_t>(value_[code_[k].a]);
      }
      i = end;
    }
    for (const Output& out : program_.outputs) outputs_.push_back(static_cast<uint16_t>(value_[out.reg]));
    place();
  }

  std::vector<Packed> code_;
  std::vector<uint16_t> outputs_;
  int homes_ = 0;
  bool wide_ = false;

 private:
  void add(const Instruction& one) {
    wide_ |= one.type == RegisterType::f64;
    if (one.op == Op::constant) {
      value_[one.dst] = kScalarOperand | scalars_++;
      return;
    }
    Packed packed = {};
    packed.op = static_cast<uint8_t>(one.op);
    packed.type = static_cast<uint8_t>(one.type);
    const auto value = [&](int reg) { return static_cast<uint16_t>(value_[reg]); };
    switch (one.op) {
      case Op::load:
        packed.source = static_cast<uint8_t>(program_.views[one.a].dtype);
        packed.access = static_cast<uint8_t>(layout_.read_access(one.a));
        packed.number = static_cast<uint16_t>(one.a);
        break;
      case Op::cast:
        packed.source = static_cast<uint8_t>(one.b);
        packed.a = packed.b = packed.c = value(one.a);
        break;
      case Op::state:
        packed.a = static_cast<uint16_t>(one.a);  // a register still: its value is known at the end of the block
        packed.b = packed.c = value(one.c);
        packed.number = static_cast<uint16_t>(states_++);
        break;
      case Op::scan:
      case Op::scan_prev:
        packed.number = static_cast<uint16_t>(scans_++);
        packed.a = value(one.a);
        packed.b = value(one.b);
        packed.c = value(one.c);
        break;
      default: {
        // An operand that an instruction lacks is its first one again: something that can be read.
        const int operands = row_of(one.op).operands;
        packed.a = value(one.a);
        packed.b = operands > 1 ? value(one.b) : packed.a;
        packed.c = operands > 2 ? value(one.c) : packed.a;
      }
    }
    value_[one.dst] = values_;
    packed.dst = static_cast<uint16_t>(values_++);
    code_.push_back(packed);
  }

  // A home is free again behind the last use of its value; inside of a loop's block, behind the block.
  void place() {
    std::vector<size_t> last(static_cast<size_t>(values_), 0);
    size_t block_end = 0;
    const auto use = [&](int value, size_t at) {
      if (!(value & kScalarOperand)) last[value] = std::max(last[value], at);
    };
    for (size_t i = 0; i < code_.size(); ++i) {
      const Packed& one = code_[i];
      if (one.op == static_cast<uint8_t>(Op::loop)) {
        block_end = i + one.block;
        continue;
      }
      const size_t at = std::max(i, block_end);
      use(one.dst, at);
      if (one.op == static_cast<uint8_t>(Op::load)) continue;
      use(one.a, at), use(one.b, at), use(one.c, at);
    }
    for (uint16_t value : outputs_) use(value, code_.size());
    std::vector<int> home(static_cast<size_t>(values_), -1), free;
    std::vector<std::vector<int>> dying(code_.size() + 1);
    for (int v = 0; v < values_; ++v) dying[last[v]].push_back(v);
    const auto home_of = [&](uint16_t value) { return value & kScalarOperand ? value : static_cast<uint16_t>(home[value]); };
    // Homes first: a state names a value that its block makes later.
    for (size_t i = 0; i < code_.size(); ++i) {
      if (code_[i].op != static_cast<uint8_t>(Op::loop)) {
        int& place = home[code_[i].dst];
        if (free.empty()) place = homes_++;
        else place = free.back(), free.pop_back();
      }
      for (int v : dying[i]) free.push_back(home[v]);
    }
    for (Packed& one : code_) {
      if (one.op == static_cast<uint8_t>(Op::loop)) continue;
      one.dst = home_of(one.dst);
      if (one.op == static_cast<uint8_t>(Op::load)) continue;
      one.a = home_of(one.a), one.b = home_of(one.b), one.c = home_of(one.c);
    }
    for (uint16_t& value : outputs_) value = home_of(value);
  }

  const Program& program_;
  const Layout& layout_;
  std::vector<int> value_;  // of each register
  int values_ = 0, scalars_ = 0, scans_ = 0, states_ = 0;
};

template <class T>
size_t append(std::vector<char>& bytes, const std::vector<T>& items) {
  const size_t at = (bytes.size() + 15) / 16 * 16;
  bytes.resize(at + items.size() * sizeof(T));
  if (!items.empty()) std::memcpy(bytes.data() + at, items.data(), items.size() * sizeof(T));
  return at;
}

}  // namespace

WrittenScript write_script(const Program& program, const Layout& layout) {
  Writer writer(program, layout);
  writer.write();
  WrittenScript out = {};
  const int first = kMaxDims - layout.dims;
  std::vector<long long> shape(kMaxDims, 1), strides(program.views.size() * kMaxDims, 0);
  for (int d = 0; d < layout.dims; ++d) {
    shape[first + d] = layout.shape[d];
    for (size_t v = 0; v < program.views.size(); ++v) strides[v * kMaxDims + first + d] = layout.views[v].strides[d];
  }
  std::vector<OutputInfo> outputs;
  for (size_t k = 0; k < program.outputs.size(); ++k) outputs.push_back(layout.output(program, static_cast<int>(k)));
  out.code = append(out.bytes, writer.code_);
  out.outputs = append(out.bytes, outputs);
  out.output_values = append(out.bytes, writer.outputs_);
  out.shape = append(out.bytes, shape);
  out.strides = append(out.bytes, strides);
  out.homes = writer.homes_;
  Script& script = out.script;
  script.instructions = static_cast<int>(writer.code_.size());
  script.output_count = static_cast<int>(outputs.size());
  script.folds = layout.folds;
  script.scans = layout.scans;
  script.first_dim = first;
  script.outer = first + layout.outer;
  script.reduced = layout.reduced;
  script.slots = layout.slots();
  script.home_bytes = writer.wide_ ? 8 : 4;
  return out;
}

int scalar_count(const Program& program) {
  int count = 0;
  for (const Instruction& one : program.instructions) count += one.op == Op::constant;
  return count;
}

void read_scalars(const Program& program, const double* scalars, Slot* out) {
  // In the order in which the constants are met; those of a loop's block stay in that order.
  for (const Instruction& one : program.instructions) {
    if (one.op != Op::constant) continue;
    const double x = scalars[one.a];
    Slot slot = {};
    if (one.type == RegisterType::f64) slot.real = x;
    else if (one.type == RegisterType::i32) slot.whole = math::to_int32(x);
    else slot.single = static_cast<float>(x);
    *out++ = slot;
  }
}

}  // namespace vantage::cuda
