// Scaled weight standardization and its gradient as functions that XLA calls: float32, output units last.
#include "standardization.h"

namespace {

namespace ffi = xla::ffi;
using Matrix = ffi::Buffer<ffi::F32, 2>;
using MatrixResult = ffi::ResultBuffer<ffi::F32, 2>;
using Vector = ffi::Buffer<ffi::F32, 1>;
using VectorResult = ffi::ResultBuffer<ffi::F32, 1>;

ffi::Error standardize(ffi::ThreadPool pool, Matrix kernel, Vector gain, float eps, bool eps_is_added, float scale,
                       MatrixResult result) {
  const auto shape = kernel.dimensions();
  nfnets::standardization::standardize(pool, {eps, scale, eps_is_added}, kernel.typed_data(), gain.typed_data(),
                                       shape[0], shape[1], result->typed_data());
  return ffi::Error::Success();
}

ffi::Error gradient(ffi::ThreadPool pool, Matrix kernel, Vector gain, Matrix cotangent, float eps, bool eps_is_added,
                    float scale, MatrixResult of_kernel, VectorResult of_gain) {
  const auto shape = kernel.dimensions();
  nfnets::standardization::gradient(pool, {eps, scale, eps_is_added}, kernel.typed_data(), gain.typed_data(),
                                    cotangent.typed_data(), shape[0], shape[1], of_kernel->typed_data(),
                                    of_gain->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_standardization, standardize,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Matrix>()
                                  .Arg<Vector>()
                                  .Attr<float>("eps")
                                  .Attr<bool>("eps_is_added")
                                  .Attr<float>("scale")
                                  .Ret<Matrix>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_standardization_gradient, gradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Matrix>()
                                  .Arg<Vector>()
                                  .Arg<Matrix>()
                                  .Attr<float>("eps")
                                  .Attr<bool>("eps_is_added")
                                  .Attr<float>("scale")
                                  .Ret<Matrix>()
                                  .Ret<Vector>());
