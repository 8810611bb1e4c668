// The update of all parameters at once, and what it must know before, as functions that XLA calls: float32.
#include "update.h"

namespace {

namespace ffi = xla::ffi;
using Flag = ffi::Buffer<ffi::PRED, 0>;
using Vector = ffi::Buffer<ffi::F32, 1>;
using VectorResult = ffi::ResultBuffer<ffi::F32, 1>;
using Number = ffi::Buffer<ffi::F32, 0>;
using NumberResult = ffi::ResultBuffer<ffi::F32, 0>;
using Numbers = ffi::Span<const int64_t>;

const float* numbers(ffi::RemainingArgs arrays, size_t i) { return arrays.get<ffi::AnyBuffer>(i)->typed_data<float>(); }
float* numbers(ffi::RemainingRets arrays, size_t i) { return (*arrays.get<ffi::AnyBuffer>(i))->typed_data<float>(); }

// Of the first arrays, of which `units` says how many each has; those of the first of them begin at `first`.
std::vector<nfnets::update::Extent> extents(ffi::RemainingArgs arrays, Numbers units, int64_t first) {
  std::vector<nfnets::update::Extent> all;
  for (size_t i = 0; i < units.size(); ++i) {
    const int64_t size = arrays.get<ffi::AnyBuffer>(i)->element_count();
    all.push_back({size / units[i], units[i], first});
    first += units[i];
  }
  return all;
}

// Arrays -> of each unit the sum of its squares, and the sum of all.
ffi::Error sum_squares(ffi::ThreadPool pool, Numbers units, VectorResult sums, NumberResult total,
                       ffi::RemainingArgs arrays) {
  std::vector<const float*> all;
  for (size_t i = 0; i < arrays.size(); ++i) all.push_back(numbers(arrays, i));
  *total->typed_data() = nfnets::update::sum_squares(pool, extents(arrays, units, 0), all, sums->typed_data());
  return ffi::Error::Success();
}

// Gradients, weights, velocities and averages, all of the first before all of the second -> the last three, new; the
// old ones, if they are not wanted.
ffi::Error update(ffi::ThreadPool pool, Flag wanted, Vector rates, Vector of_gradients, Vector of_weights,
                  ffi::RemainingArgs old, int64_t first, Numbers units, Numbers clipped, Numbers decayed,
                  ffi::Span<const float> scales, float clipping, float eps, float decay, float momentum, bool nesterov,
                  ffi::RemainingRets results) {
  const size_t n = units.size();
  std::vector<nfnets::update::Parameter> parameters;
  for (size_t i = 0; i < n; ++i)
    parameters.push_back({clipped[i] != 0, decayed[i] != 0, scales[i], numbers(old, i), numbers(old, n + i),
                          numbers(old, 2 * n + i), numbers(old, 3 * n + i), numbers(results, i),
                          numbers(results, n + i), numbers(results, 2 * n + i)});
  const auto all = extents(old, units, first);
  if (!wanted.typed_data()[0]) {
    nfnets::update::keep(all, parameters);
  } else {
    const float* rate = rates.typed_data();
    nfnets::update::take(pool, {clipping, eps, decay, momentum, nesterov}, {rate[0], rate[1]}, all, parameters,
                         of_gradients.typed_data(), of_weights.typed_data());
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    nfnets_sum_squares, sum_squares,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("units").Ret<Vector>().Ret<Number>().RemainingArgs());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_update, update,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Flag>()
                                  .Arg<Vector>()
                                  .Arg<Vector>()
                                  .Arg<Vector>()
                                  .RemainingArgs()
                                  .Attr<int64_t>("first")
                                  .Attr<Numbers>("units")
                                  .Attr<Numbers>("clipped")
                                  .Attr<Numbers>("decayed")
                                  .Attr<ffi::Span<const float>>("scales")
                                  .Attr<float>("clipping")
                                  .Attr<float>("eps")
                                  .Attr<float>("decay")
                                  .Attr<float>("momentum")
                                  .Attr<bool>("nesterov")
                                  .RemainingRets());
