// Convolutions, their two gradients and products of matrices as functions that XLA calls: float32, channels last.
#include "direct.h"
#include "product.h"
#include "winograd.h"

namespace {

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32, 4>;
using Result = ffi::ResultBuffer<ffi::F32, 4>;
using Matrix = ffi::Buffer<ffi::F32, 2>;
using Vector = ffi::Buffer<ffi::F32, 1>;
using MatrixResult = ffi::ResultBuffer<ffi::F32, 2>;

struct Window {
  int64_t stride, groups, above, left;
};

template <typename Image, typename Kernel, typename Output>
nfnets::Geometry geometry(const Image& image, const Kernel& kernel, const Output& output, const Window& window) {
  const auto x = image.dimensions(), k = kernel.dimensions(), y = output.dimensions();
  return {x[0],
          x[1],
          x[2],
          y[1],
          y[2],
          k[0],
          k[1],
          window.stride,
          window.above,
          window.left,
          window.groups,
          k[2],
          k[3] / window.groups};
}

// Whether Winograd's way serves: whole blocks of channels on both sides.
bool is_filtered(const nfnets::Geometry& g, bool filtered) {
  return filtered && g.depth % nfnets::winograd::kBlock == 0 && g.units % nfnets::winograd::kBlock == 0;
}

ffi::Error convolve(ffi::ThreadPool& pool, const nfnets::Geometry& g, const Array& x, const Array& kernel,
                    bool filtered, const nfnets::Finish* finish, Result& y) {
  if (is_filtered(g, filtered))
    nfnets::winograd::convolve(pool, g, x.typed_data(), kernel.typed_data(), false, y->typed_data(), finish);
  else
    nfnets::direct::convolve(pool, nfnets::direct::forward(g), x.typed_data(), kernel.typed_data(), false,
                             y->typed_data(), finish);
  return ffi::Error::Success();
}

ffi::Error forward(ffi::ThreadPool pool, Array x, Array kernel, int64_t stride, int64_t groups, int64_t above,
                   int64_t left, bool filtered, Result y) {
  return convolve(pool, geometry(x, kernel, *y, {stride, groups, above, left}), x, kernel, filtered, nullptr, y);
}

// With a bias and a nonlinearity.
ffi::Error activated(ffi::ThreadPool pool, Array x, Array kernel, Vector bias, int64_t activation, int64_t stride,
                     int64_t groups, int64_t above, int64_t left, bool filtered, Result y) {
  const nfnets::Finish finish(bias.typed_data(), static_cast<nfnets::Activation>(activation));
  return convolve(pool, geometry(x, kernel, *y, {stride, groups, above, left}), x, kernel, filtered, &finish, y);
}

ffi::Error input_gradient(ffi::ThreadPool pool, Array cotangent, Array kernel, int64_t stride, int64_t groups,
                          int64_t above, int64_t left, bool filtered, Result x) {
  auto g = geometry(*x, kernel, cotangent, {stride, groups, above, left});
  if (is_filtered(g, filtered)) {
    std::swap(g.depth, g.units);
    nfnets::winograd::convolve(pool, g, cotangent.typed_data(), kernel.typed_data(), true, x->typed_data());
  } else {
    nfnets::direct::convolve(pool, nfnets::direct::input_gradient(g), cotangent.typed_data(), kernel.typed_data(), true,
                             x->typed_data());
  }
  return ffi::Error::Success();
}

ffi::Error kernel_gradient(ffi::ThreadPool pool, Array x, Array cotangent, int64_t stride, int64_t groups,
                           int64_t above, int64_t left, bool filtered, Result kernel) {
  const auto g = geometry(x, *kernel, cotangent, {stride, groups, above, left});
  const auto way = is_filtered(g, filtered) ? nfnets::winograd::kernel_gradient : nfnets::direct::kernel_gradient;
  way(pool, g, x.typed_data(), cotangent.typed_data(), kernel->typed_data());
  return ffi::Error::Success();
}

// [rows, depth] by [depth, columns]; by the transpose of [columns, depth] if `transposed`.
ffi::Error product(ffi::ThreadPool pool, Matrix a, Matrix b, bool transposed, MatrixResult result) {
  const auto of_a = a.dimensions();
  nfnets::product::multiply(pool, a.typed_data(), b.typed_data(), of_a[0], of_a[1], result->dimensions()[1], transposed,
                            result->typed_data());
  return ffi::Error::Success();
}

// [rows, depth] by [depth, columns], with a bias and a nonlinearity.
ffi::Error activated_product(ffi::ThreadPool pool, Matrix a, Matrix b, Vector bias, int64_t activation,
                             MatrixResult result) {
  const nfnets::Finish finish(bias.typed_data(), static_cast<nfnets::Activation>(activation));
  const auto of_a = a.dimensions();
  nfnets::product::multiply(pool, a.typed_data(), b.typed_data(), of_a[0], of_a[1], result->dimensions()[1], false,
                            result->typed_data(), &finish);
  return ffi::Error::Success();
}

// The transpose of [terms, rows] by [terms, columns].
ffi::Error summed_product(ffi::ThreadPool pool, Matrix a, Matrix b, MatrixResult result) {
  const auto of_a = a.dimensions();
  nfnets::product::multiply_transposed(pool, a.typed_data(), b.typed_data(), of_a[0], of_a[1], b.dimensions()[1],
                                       result->typed_data());
  return ffi::Error::Success();
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Array>()
      .Arg<Array>()
      .Attr<int64_t>("stride")
      .Attr<int64_t>("groups")
      .Attr<int64_t>("above")
      .Attr<int64_t>("left")
      .Attr<bool>("filtered")
      .Ret<Array>();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_convolution, forward, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_activated_convolution, activated,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Vector>()
                                  .Attr<int64_t>("activation")
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("groups")
                                  .Attr<int64_t>("above")
                                  .Attr<int64_t>("left")
                                  .Attr<bool>("filtered")
                                  .Ret<Array>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_activated_product, activated_product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Matrix>()
                                  .Arg<Matrix>()
                                  .Arg<Vector>()
                                  .Attr<int64_t>("activation")
                                  .Ret<Matrix>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_convolution_input_gradient, input_gradient, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_convolution_kernel_gradient, kernel_gradient, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    nfnets_product, product,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Matrix>().Arg<Matrix>().Attr<bool>("transposed").Ret<Matrix>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(nfnets_summed_product, summed_product,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Matrix>().Arg<Matrix>().Ret<Matrix>());
