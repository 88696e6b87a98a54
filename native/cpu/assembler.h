// Machine code for x86-64 with AVX-512, as far as compiled scans need it. Names and orders of operands are those of Intel's manual: the destination first.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace vantage::cpu {

// General registers that a function may use freely under the System V convention.
enum class Gpr : int { rax = 0, rcx = 1, rdx = 2, rsi = 6, rdi = 7, r8 = 8, r9 = 9, r10 = 10, r11 = 11 };

// [base + index·scale + displacement]; `each`: one number there, for each lane.
struct Memory {
  Gpr base;
  int32_t displacement = 0;
  int index = -1;  // the number of a Gpr, or -1
  int scale = 1;
  bool each = false;

  Memory at(Gpr by, int times) const { return {base, displacement, static_cast<int>(by), times, each}; }
};

// A vector register, or memory.
struct Operand {
  int zmm = -1;
  Memory memory{Gpr::rdi};
  Operand(int zmm) : zmm(zmm) {}
  Operand(const Memory& memory) : memory(memory) {}
};

// Where a result's lanes go: under mask register k (0: all), the others kept, or zero.
struct Under {
  int k = 0;
  bool zeroing = false;
};

class Assembler {
 public:
  // Of the tables of opcodes: the map (0F, 0F38, 0F3A), the prefix, W.
  enum class Map : int { m0f = 1, m0f38 = 2, m0f3a = 3 };
  enum class Prefix : int { none = 0, p66 = 1, pf3 = 2, pf2 = 3 };
  struct Form {
    Map map;
    Prefix prefix;
    bool wide;  // W
    uint8_t opcode;
    bool scalar = false;
  };

  // Any instruction with a vector register, up to another one, and a register or memory; `reg` may be a mask register or an opcode's extension.
  void vector(const Form& form, int reg, int second, const Operand& third, Under under = {});
  void vector(const Form& form, int reg, int second, const Operand& third, uint8_t immediate, Under under = {});

  void load(Gpr to, const Memory& from);     // 64 bits
  void move(Gpr to, Gpr from);               // 64 bits
  void move(Gpr to, int32_t value);          // 32 bits, the upper ones 0
  void add(Gpr to, int32_t value);           // 64 bits, as all below; add, subtract and `and_` set the flags
  void add_to(const Memory& to, Gpr from);
  void subtract(Gpr to, Gpr from);
  void compare(Gpr a, Gpr b);
  void compare_with(Gpr a, int32_t value);
  void and_(Gpr to, int32_t value);
  void negate(Gpr to);
  void shift_left(Gpr to, uint8_t by);
  void low_bits(Gpr to, Gpr from, Gpr count);  // bzhi
  void mask_of(int k, Gpr from);               // kmovw, and to 16 bits of memory:
  void store_mask(const Memory& to, int k);
  void prefetch(const Memory& from);
  void clear_upper();                          // vzeroupper
  void ret();

  // Jumps: behind `here()`, or to where `land` puts them later.
  enum class When : uint8_t { always, zero = 0x84, less = 0x8c, greater = 0x8f };
  struct Jump {
    size_t behind;
  };
  size_t here() const { return bytes_.size(); }
  void jump_to(size_t target, When when = When::always);
  Jump jump(When when = When::always);
  void land(Jump jump);

  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  void put(std::initializer_list<int> bytes) {
    for (int byte : bytes) bytes_.push_back(static_cast<uint8_t>(byte));
  }
  void put32(int32_t value);
  void put_at(size_t at, int32_t value);
  void rm(int reg, int direct);
  void rm(int reg, const Memory& memory);
  void general(int opcode, int reg, int direct);  // REX.W

  std::vector<uint8_t> bytes_;
};

}  // namespace vantage::cpu
