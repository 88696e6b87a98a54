#include "demand.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

class Demands {
 public:
  Demands(const Code& code, int* demand) : code_(code), demand_(demand) {}

  void find() {
    bool bytes[kMaxInstructions];
    for (int v = 0; v < code_.values; ++v) {
      demand_[v] = kNowhere;
      bytes[v] = false;
    }
    int blocks_end = 0;  // what a loop reads, it reads everywhere
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      if (step.op == Op::loop) blocks_end = i + 1 + step.block;
      if (step.op == Op::load) bytes[step.dst] = code_.item[step.view] == 1 && step.type == RegisterType::i32;
    }
    for (int i = 0; i < code_.outputs; ++i) demand_[code_.output[i].value] = kEverywhere;
    for (int i = code_.steps - 1; i >= 0; --i) {
      const Step& step = code_.step[i];
      const bool looped = i < blocks_end;
      const int here = looped || step.dst < 0 ? kEverywhere : demand_[step.dst];
      if (here == kNowhere) continue;
      if (!looped && is_scan(step)) {
        const int inside = step.mask >= 0 && bytes[step.mask] ? step.mask : kEverywhere;
        need(step.a, inside), need(step.b, inside);
        need(step.c, kEverywhere), need(step.mask, kEverywhere);
      } else if (!looped && step.op == Op::where && bytes[step.a]) {
        need(step.a, kEverywhere), need(step.b, step.a), need(step.c, here);
      } else {
        for (int value : {step.a, step.b, step.c, step.mask}) need(value, here);
      }
    }
  }

 private:
  void need(int value, int where) {
    if (value >= 0) demand_[value] = demand_[value] == kNowhere || demand_[value] == where ? where : kEverywhere;
  }

  const Code& code_;
  int* const demand_;
};

}  // namespace

void find_demands(const Code& code, int* demand) { Demands(code, demand).find(); }

}  // namespace vantage::cpu::VANTAGE_ISA
