// Numbers for JavaScript that stand for native objects. A number is not used again until all the others were.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace vantage::addon {

template <class T>
class HandleTable {
 public:
  HandleTable() : places_(64) {}

  int32_t insert(T value) {
    if (count_ * 2 >= places_.size()) grow();
    do next_ = next_ == INT32_MAX ? 1 : next_ + 1;
    while (at(next_).id != 0);
    at(next_) = {next_, std::move(value)};
    ++count_;
    return next_;
  }

  // Null where the number stands for nothing, or no longer.
  T* find(int32_t id) {
    Place& place = at(id);
    return id > 0 && place.id == id ? &place.value : nullptr;
  }

  void erase(int32_t id) {
    at(id) = {};
    --count_;
  }

  size_t size() const { return count_; }

  template <class Visit>
  void for_each(const Visit& visit) {
    for (Place& place : places_) {
      if (place.id != 0) visit(place.value);
    }
  }

 private:
  struct Place {
    int32_t id = 0;
    T value = {};
  };

  // The place of a number is its low bits: ids that differ there still differ when there are more places.
  Place& at(int32_t id) { return places_[static_cast<uint32_t>(id) & (places_.size() - 1)]; }

  void grow() {
    std::vector<Place> old(places_.size() * 2);
    old.swap(places_);
    for (Place& place : old) {
      if (place.id != 0) at(place.id) = std::move(place);
    }
  }

  std::vector<Place> places_;
  size_t count_ = 0;
  int32_t next_ = 0;
};

}  // namespace vantage::addon
