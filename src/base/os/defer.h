#pragma once
// Defer: runs a function at scope exit unless dismissed. The undo of a step stands beside its do.
#include <utility>

namespace cleanroom::base {

template <class F>
class [[nodiscard]] Defer {
 public:
  explicit Defer(F function) : function_(std::move(function)) {}
  Defer(const Defer&) = delete;
  Defer& operator=(const Defer&) = delete;
  ~Defer() {
    if (armed_) function_();
  }
  void dismiss() { armed_ = false; }

 private:
  F function_;
  bool armed_ = true;
};

}  // namespace cleanroom::base
