// Arrays of one shape stacked, and what is stacked taken apart, as functions that XLA calls: of any numbers.
#include <cstring>

#include "parallel.h"

namespace {

namespace ffi = xla::ffi;

// [...] of each -> [n, ...].
ffi::Error stack(ffi::ThreadPool pool, ffi::Result<ffi::AnyBuffer> stacked, ffi::RemainingArgs arrays) {
  const size_t each = stacked->size_bytes() / arrays.size();
  char* to = static_cast<char*>(stacked->untyped_data());
  nfnets::parallel_for(
      pool, arrays.size(),
      [&](int64_t i) { std::memcpy(to + i * each, arrays.get<ffi::AnyBuffer>(i)->untyped_data(), each); },
      stacked->element_count() < static_cast<size_t>(nfnets::kFew));
  return ffi::Error::Success();
}

// [n, ...] -> [...] of each.
ffi::Error unstack(ffi::ThreadPool pool, ffi::AnyBuffer stacked, ffi::RemainingRets arrays) {
  const size_t each = stacked.size_bytes() / arrays.size();
  const char* from = static_cast<const char*>(stacked.untyped_data());
  nfnets::parallel_for(
      pool, arrays.size(),
      [&](int64_t i) { std::memcpy((*arrays.get<ffi::AnyBuffer>(i))->untyped_data(), from + i * each, each); },
      stacked.element_count() < static_cast<size_t>(nfnets::kFew));
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_stack, stack,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Ret<ffi::AnyBuffer>().RemainingArgs());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_unstack, unstack,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<ffi::AnyBuffer>().RemainingRets());
