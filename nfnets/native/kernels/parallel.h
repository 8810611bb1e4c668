// Work spread over the threads of XLA, and memory that each of them keeps.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "xla/ffi/api/ffi.h"

namespace nfnets {

constexpr int64_t kFew = 1 << 16;  // numbers that are copied in less time than another thread takes to begin

// Calls f(i) for every i below `items`, on the threads of the pool.  The calling thread, which may be one of the
// pool's, takes items as well and waits for none that nobody has begun: so it ends however busy the others are.  Where
// all of it takes less time than waking another thread (`few`), it does it alone.
template <typename F>
void parallel_for(xla::ffi::ThreadPool& pool, int64_t items, const F& f, bool few = false) {
  if (few) {
    for (int64_t i = 0; i < items; ++i) f(i);
    return;
  }
  struct Progress {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto progress = std::make_shared<Progress>();
  auto work = [progress, items, &f] {  // behind the last item `f` is not touched: it may be gone
    for (int64_t i; (i = progress->next.fetch_add(1)) < items;) {
      f(i);
      if (progress->done.fetch_add(1) + 1 == items) progress->done.notify_all();
    }
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), items) - 1;
  for (int64_t i = 0; i < helpers; ++i) {
    auto help = work;
    pool.Schedule(std::move(help));
  }
  work();
  for (int64_t done; (done = progress->done.load()) < items;) progress->done.wait(done);
}

// Memory of this thread for this purpose, at least so many numbers; it stays until the thread ends.
template <int purpose>
float* scratch(int64_t numbers) {
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<float, Free> memory;
  thread_local int64_t size = 0;
  if (size < numbers) {
    size = (numbers + 1023) / 1024 * 1024;
    memory.reset();  // first, so that both are never held at once
    memory.reset(static_cast<float*>(std::aligned_alloc(64, size * sizeof(float))));
    if (memory == nullptr) {
      std::fprintf(stderr, "nfnets: out of memory: a convolution needs %lld MB more\n",
                   static_cast<long long>(size * sizeof(float) >> 20));
      std::abort();  // as XLA does
    }
  }
  return memory.get();
}

}  // namespace nfnets
