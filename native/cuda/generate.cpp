#include "generate.h"

#include <algorithm>
#include <cstring>

#include "script.h"

namespace vantage::cuda {
namespace {

constexpr const char* kTypes[] = {"float", "double", "int32_t"};
constexpr const char* kRegisterTypeNames[] = {"f32", "f64", "i32"};
constexpr const char* kDTypeNames[] = {"f32", "f64", "bf16", "i32", "u8", "boolean"};
constexpr const char* kAccessNames[] = {"unit", "backward", "fixed", "strided"};
constexpr const char* kReductionNames[] = {"store", "sum", "product", "maximum", "minimum"};

const char* type_of(RegisterType type) { return kTypes[static_cast<int>(type)]; }
std::string dtype(DType type) { return std::string("DType::") + kDTypeNames[static_cast<int>(type)]; }
std::string access(Access how) { return std::string("Access::") + kAccessNames[static_cast<int>(how)]; }

size_t argument_words(const Program& program, const Layout& layout) {
  const size_t views = std::max<size_t>(1, program.views.size()), dims = static_cast<size_t>(layout.dims);
  const size_t scalars = static_cast<size_t>(std::max(1, scalar_count(program)));
  return sizeof(Geometry) / 8 + 2 + views + (layout.scans > 0 ? 2 : 1) * scalars + dims + views * dims;
}

class Writer {
 public:
  Writer(const Program& program, const Layout& layout) : program_(program), layout_(layout), value_(program.registers) {}

  std::string write() {
    const std::string views = std::to_string(std::max<size_t>(1, program_.views.size()));
    const std::string dims = std::to_string(layout_.dims), scalars = std::to_string(std::max(1, scalar_count(program_)));
    line("namespace vantage::cuda {");
    line("struct Arguments {");
    line("  Geometry geometry;");
    line("  unsigned long long aligned[2];");
    line("  char* base[" + views + "];");
    line("  Slot scalars[" + scalars + "];");
    if (layout_.scans > 0) line("  double reals[" + scalars + "];");
    line("  long long shape[" + dims + "];");
    line("  long long strides[" + views + "][" + dims + "];");
    line("};");
    line("struct Body {");
    line("  static constexpr int kDims = " + dims + ", kUnroll = 64;");
    line("  static constexpr bool kTwice = true;");
    line(std::string("  using Index = ") + (layout_.narrow ? "int;" : "long long;"));
    line("  const Arguments& arguments;");
    line("  struct Slots {");
    line("    Slot at[" + std::to_string(std::max(1, layout_.slots())) + "];");
    line("    VANTAGE_DEVICE explicit Slots(const Body&) {}");
    line("    VANTAGE_DEVICE Slot& operator[](int i) { return at[i]; }");
    line("  };");
    line("  VANTAGE_DEVICE Index shape(int d) const { return static_cast<Index>(arguments.shape[d]); }");
    strides();
    line("  VANTAGE_DEVICE char* base(int view) const { return arguments.base[view]; }");
    line("  VANTAGE_DEVICE bool aligned(int view) const { return arguments.aligned[view >> 6] >> (view & 63) & 1; }");
    number("first_dim", 0);
    number("outer", layout_.outer);
    number("reduced", layout_.reduced);
    number("outputs", static_cast<int>(program_.outputs.size()));
    number("folds", layout_.folds);
    number("scans", layout_.scans);
    number("first_carry", layout_.folds);
    line("  VANTAGE_DEVICE OutputInfo output(int k) const {");
    line("    switch (k) {");
    for (size_t k = 0; k < program_.outputs.size(); ++k) {
      const OutputInfo out = layout_.output(program_, static_cast<int>(k));
      line("      case " + std::to_string(k) + ": return {Reduction::" + kReductionNames[static_cast<int>(out.reduction)] +
           ", RegisterType::" + kRegisterTypeNames[static_cast<int>(out.type)] + ", " + dtype(out.dtype) + ", " + access(out.access) + ", " +
           std::to_string(out.view) + ", " + std::to_string(out.fold) + "};");
    }
    line("      default: return {};");
    line("    }");
    line("  }");
    line("  template <class C>");
    line("  VANTAGE_DEVICE void run(C& c) const {");
    line("    constexpr int n = C::kItems;");
    instructions();
    for (size_t k = 0; k < program_.outputs.size(); ++k) {
      const Output& out = program_.outputs[k];
      const bool bits = out.reduction == Reduction::sum && value_[out.reg].bit;
      line("    c." + (bits ? "leave_bits" : "template leave<" + std::string(type_of(out.type)) + ">") + "(" + std::to_string(k) + ", " +
           value_[out.reg].name + ");");
    }
    line("  }");
    line("};");
    const bool inside = argument_words(program_, layout_) * 8 <= kMostParameterBytes;
    line("struct Parameters {");
    line(inside ? "  Arguments arguments;" : "  const Arguments* arguments;");
    line("};");
    line("}  // namespace vantage::cuda");
    line("using namespace vantage::cuda;");
    line("extern \"C\" __global__ void __launch_bounds__(kThreads" + blocks() + ") vantage_program(const __grid_constant__ Parameters parameters) {");
    line(std::string("  const Body body{") + (inside ? "" : "*") + "parameters.arguments};");
    line("  " + walk() + "(body, body.arguments.geometry);");
    line("}");
    return std::move(text_);
  }

 private:
  // Views that move alike share their strides, so that the compiler sees that their positions are one, and strides of 0 are written as such.
  void strides() {
    const int dims = layout_.dims;
    line("  VANTAGE_DEVICE Index stride(int view, int d) const {");
    line("    switch (view * " + std::to_string(dims) + " + d) {");
    const auto same = [&](size_t v, size_t w) { return std::equal(layout_.views[v].strides, layout_.views[v].strides + dims, layout_.views[w].strides); };
    for (size_t v = 0; v < layout_.views.size(); ++v) {
      size_t first = 0;
      while (!same(v, first)) ++first;
      for (int d = 0; d < dims; ++d) {
        const bool still = layout_.views[v].strides[d] == 0;
        if (first == v && !still) continue;
        const std::string value = still ? "0" : "static_cast<Index>(arguments.strides[" + std::to_string(first) + "][" + std::to_string(d) + "])";
        line("      case " + std::to_string(static_cast<int>(v) * dims + d) + ": return " + value + ";");
      }
    }
    line("      default: return static_cast<Index>(arguments.strides[view][d]);");
    line("    }");
    line("  }");
  }

  struct Value {
    std::string name;
    bool uniform;  // one value for all elements of the thread
    std::string real;  // of a constant: the same in double
    // A choice between two constants: its condition, and the sides in double.
    std::string condition, sides[2];
    std::string wide;  // the choice in double, once it is there
    bool bit = false;  // 0 or 1
  };

  void line(const std::string& text) { text_ += text + "\n"; }
  void number(const char* name, int value) {
    line("  VANTAGE_DEVICE int " + std::string(name) + "() const { return " + std::to_string(value) + "; }");
  }

  // How many blocks a multiprocessor should hold at once, as far as registers go: enough to hide each other's waiting, in shuffles and for memory.
  // Where values are many, fewer blocks without spilling are faster.
  std::string blocks() const {
    if (layout_.walk == Walk::wide) return layout_.scans > 0 ? ", 2" : ", 3";
    const bool few = program_.instructions.size() <= 64 && program_.views.size() <= 12;
    return layout_.walk == Walk::rows && layout_.scans > 0 && few ? ", 4" : "";
  }

  std::string walk() const {
    const std::string items = std::to_string(layout_.items());
    switch (layout_.walk) {
      case Walk::elements: return "walk_elements<Body, " + items + ">";
      case Walk::rows: return "walk_rows<Body, " + std::to_string(layout_.team) + ", " + items + ">";
      case Walk::wide: return "walk_wide<Body, " + items + ">";
      default: return "walk_columns<Body, " + items + ">";
    }
  }

  // Declares the value of an instruction: `float v3[n];` or `One<float> v3;`.
  std::string declare(const Instruction& one, RegisterType type, bool uniform) {
    const std::string name = "v" + std::to_string(values_++);
    line(std::string("    ") + (uniform ? "One<" + std::string(type_of(type)) + "> " + name + ";" : type_of(type) + (" " + name) + "[n];"));
    value_[one.dst] = {};
    value_[one.dst].name = name;
    value_[one.dst].uniform = uniform;
    const bool table = static_cast<int>(one.op) >= kFirstInstruction;
    value_[one.dst].bit = (table && (row_of(one.op).kind == Kind::compare || row_of(one.op).kind == Kind::logical)) ||
                          (one.op == Op::load && type == RegisterType::i32 && program_.views[one.a].dtype == DType::boolean);
    return name;
  }

  // The value of a scan's operand, in double where it is a choice between constants: nothing has to be converted then.
  std::string wide(int reg) {
    Value& value = value_[reg];
    if (value.condition.empty()) return value.name;
    if (!value.wide.empty()) return value.wide;
    value.wide = "d" + value.name;
    line("    double " + value.wide + "[n];");
    line("    _Pragma(\"unroll\") for (int k = 0; k < n; ++k) " + value.wide + "[k] = " + value.condition + "[k] != 0 ? " + value.sides[0] + " : " +
         value.sides[1] + ";");
    return value.wide;
  }

  static RegisterType result_type(const Instruction& one) {
    const bool table = static_cast<int>(one.op) >= kFirstInstruction;
    return table && row_of(one.op).kind == Kind::compare ? RegisterType::i32 : one.type;
  }

  // The right side of an assignment for element k.
  std::string expression(const Instruction& one) const {
    const auto operand = [&](int reg) { return value_[reg].name + "[k]"; };
    if (one.op == Op::cast) return "number<" + std::string(type_of(one.type)) + ">(" + operand(one.a) + ")";
    const int operands = row_of(one.op).operands;
    const std::string a = operand(one.a), b = operands > 1 ? operand(one.b) : a, c = operands > 2 ? operand(one.c) : b;
    return "apply<Op::" + std::string(row_of(one.op).name) + ", " + type_of(one.type) + ">(" + a + ", " + b + ", " + c + ")";
  }
  bool all_uniform(const Instruction& one) const {
    const int operands = one.op == Op::cast ? 1 : row_of(one.op).operands;
    return value_[one.a].uniform && (operands < 2 || value_[one.b].uniform) && (operands < 3 || value_[one.c].uniform);
  }

  // Everything that is read comes first, so that all of it is under way before the first of it is used.
  void instructions() {
    const auto& all = program_.instructions;
    for (const Instruction& one : all) {
      if (one.op == Op::load) loaded_.push_back(load(one));
    }
    for (size_t i = 0; i < all.size();) {
      if (all[i].op != Op::loop) {
        add(all[i++]);
        continue;
      }
      const size_t end = i + 1 + static_cast<size_t>(all[i].b);
      for (size_t k = i + 1; k < end; ++k) {
        if (all[k].op == Op::load || all[k].op == Op::constant) add(all[k]);
      }
      loop(i + 1, end);
      i = end;
    }
  }

  Value load(const Instruction& one) {
    const Access how = layout_.read_access(one.a);
    const std::string name = declare(one, one.type, how == Access::fixed);
    line("    c.template load<" + std::string(type_of(one.type)) + ">(" + name + ", " + std::to_string(one.a) + ", " +
         dtype(program_.views[one.a].dtype) + ", " + access(how) + ");");
    return value_[one.dst];
  }

  void add(const Instruction& one) {
    const std::string type = type_of(one.type);
    switch (one.op) {
      case Op::constant: {
        const std::string name = declare(one, one.type, true);
        const char* field = one.type == RegisterType::f64 ? ".real" : one.type == RegisterType::i32 ? ".whole" : ".single";
        if (layout_.scans > 0 && one.type == RegisterType::f32) value_[one.dst].real = "arguments.reals[" + std::to_string(scalars_) + "]";
        line("    " + name + ".value = static_cast<" + type + ">(arguments.scalars[" + std::to_string(scalars_++) + "]" + field + ");");
        return;
      }
      case Op::load:
        value_[one.dst] = loaded_[loads_++];
        return;
      case Op::scan:
      case Op::scan_prev: {
        const std::string a = wide(one.a), b = wide(one.b);
        const std::string operands = a + ", " + b + ", " + value_[one.c].name;
        const std::string name = declare(one, one.type, false);
        line("    c.template scan<" + type + ">(" + std::to_string(scans_++) + ", " + operands + ", " + name + ", " +
             (one.op == Op::scan_prev ? "true" : "false") + ");");
        return;
      }
      default: {
        const std::string right = expression(one);
        const bool uniform = all_uniform(one);
        const Value a = value_[one.a], b = one.op == Op::where ? value_[one.b] : Value{}, c = one.op == Op::where ? value_[one.c] : Value{};
        const std::string name = declare(one, result_type(one), uniform);
        if (!b.real.empty() && !c.real.empty()) {
          value_[one.dst].condition = a.name;
          value_[one.dst].sides[0] = b.real;
          value_[one.dst].sides[1] = c.real;
        }
        if (uniform) line("    { constexpr int k = 0; " + name + "[k] = " + right + "; }");
        else line("    _Pragma(\"unroll\") for (int k = 0; k < n; ++k) " + name + "[k] = " + right + ";");
      }
    }
  }

  // A block, once for each element that exists.
  void loop(size_t begin, size_t end) {
    const auto& all = program_.instructions;
    std::vector<std::string> body, next;
    const int first = states_;
    for (size_t i = begin; i < end; ++i) {
      const Instruction& one = all[i];
      if (one.op == Op::load || one.op == Op::constant) continue;
      std::string right;
      if (one.op == Op::state) {
        right = "c.template state<" + std::string(type_of(one.type)) + ">(" + std::to_string(states_++) + ", k, " + value_[one.c].name + "[k])";
      } else {
        right = expression(one);
      }
      const std::string name = declare(one, result_type(one), false);
      body.push_back("      " + name + "[k] = " + right + ";");
    }
    int state = first;
    for (size_t i = begin; i < end && all[i].op == Op::state; ++i) {
      next.push_back("      c.template set_state<" + std::string(type_of(all[i].type)) + ">(" + std::to_string(state++) + ", " +
                     value_[all[i].a].name + "[k]);");
    }
    line("    _Pragma(\"unroll\") for (int k = 0; k < n; ++k) {");
    line("      if (!c.exists(k)) continue;");
    for (const std::string& text : body) line(text);
    for (const std::string& text : next) line(text);
    line("    }");
  }

  const Program& program_;
  const Layout& layout_;
  std::string text_;
  std::vector<Value> value_;   // of each register
  std::vector<Value> loaded_;  // by each load, in order
  size_t loads_ = 0;
  int values_ = 0, scalars_ = 0, scans_ = 0, states_ = 0;
};

}  // namespace

std::string generate(const Program& program, const Layout& layout) { return Writer(program, layout).write(); }

std::vector<uint64_t> write_arguments(const Program& program, const Layout& layout, Geometry geometry, void* const* slots, const double* scalars) {
  static_assert(sizeof(Geometry) % 8 == 0 && sizeof(Slot) == 8 && sizeof(long long) == 8 && sizeof(char*) == 8);
  const size_t views = std::max<size_t>(1, program.views.size()), dims = static_cast<size_t>(layout.dims);
  const size_t constants = static_cast<size_t>(std::max(1, scalar_count(program)));
  std::vector<uint64_t> words(argument_words(program, layout));
  uint64_t* at = words.data();
  char* base[kMaxViews] = {};
  unsigned long long aligned[2];
  geometry.whole = set_addresses(program, layout, slots, base, aligned);
  std::memcpy(at, &geometry, sizeof geometry);
  at += sizeof geometry / 8;
  *at++ = aligned[0];
  *at++ = aligned[1];
  for (size_t v = 0; v < views; ++v) *at++ = reinterpret_cast<uint64_t>(base[v]);
  Slot* const slots_of_scalars = reinterpret_cast<Slot*>(at);
  read_scalars(program, scalars, slots_of_scalars);
  at += constants;
  if (layout.scans > 0) {
    for (size_t i = 0; i < constants; ++i) {
      const double real = static_cast<double>(slots_of_scalars[i].single);
      std::memcpy(at++, &real, sizeof real);
    }
  }
  for (size_t d = 0; d < dims; ++d) *at++ = static_cast<uint64_t>(layout.shape[d]);
  for (const LaidView& view : layout.views) {
    for (size_t d = 0; d < dims; ++d) *at++ = static_cast<uint64_t>(view.strides[d]);
  }
  return words;
}

}  // namespace vantage::cuda
