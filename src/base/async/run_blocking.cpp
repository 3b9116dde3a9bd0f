#include "src/base/async/run_blocking.h"

namespace cleanroom::base {

BlockingPool::BlockingPool(std::size_t threads) : pool_(threads) {}
BlockingPool::~BlockingPool() {
  pool_.join();
}

}  // namespace cleanroom::base
