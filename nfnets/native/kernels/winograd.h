// 3x3 convolutions of stride 1 with 2.25 times fewer multiplications: F(2x2, 3x3) of Lavin and Gray 2015
// (arXiv 1509.09308), on so few tiles at a time that all that is made of them stays in the second cache.
#pragma once

#include <cstring>
#include <vector>

#include "finish.h"
#include "geometry.h"
#include "parallel.h"
#include "vectors.h"

namespace nfnets::winograd {

constexpr int kPlaces = 16;                // numbers of a tile of 4 x 4
constexpr int64_t kTiles = 48;             // at a time; a multiple of the rows of a product
constexpr int64_t kPanel = kWide * kPair;  // channels of the result that are computed at once
constexpr int64_t kBlock = 32;             // channels of the image, in the gradient of the kernel
static_assert(kBlock % kPanel == 0 && kTiles % kWideRows == 0);

using V = Vector<kWide>;

// Four numbers of the image, two of the cotangent, as sums of their neighbours; likewise back.
struct OfImage {
  static void apply(const V (&x)[4], V (&y)[4]) {
    y[0] = x[0] - x[2], y[1] = x[1] + x[2], y[2] = x[2] - x[1], y[3] = x[1] - x[3];
  }
};
struct OfCotangent {
  static void apply(const V (&x)[2], V (&y)[4]) { y[0] = x[0], y[1] = x[0] + x[1], y[2] = x[0] - x[1], y[3] = -x[1]; }
};
struct OfOutput {
  static void apply(const V (&x)[4], V (&y)[2]) { y[0] = x[0] + x[1] + x[2], y[1] = x[1] - x[2] - x[3]; }
};
struct OfKernel {
  static void apply(const V (&x)[3], V (&y)[4]) {
    const V outer = (x[0] + x[2]) * 0.5f, middle = x[1] * 0.5f;
    y[0] = x[0], y[1] = outer + middle, y[2] = outer - middle, y[3] = x[2];
  }
};
struct OfGradient {
  static void apply(const V (&x)[4], V (&y)[3]) {
    const V sum = (x[1] + x[2]) * 0.5f;
    y[0] = x[0] + sum, y[1] = (x[1] - x[2]) * 0.5f, y[2] = sum + x[3];
  }
};

// A square of `from` vectors to one of `to`: the columns first, then the rows.
template <typename Form, int from, int to>
inline void transform(const V (&x)[from][from], V (&y)[to][to]) {
  V between[to][from];
  for (int j = 0; j < from; ++j) {
    V column[from], made[to];
    for (int i = 0; i < from; ++i) column[i] = x[i][j];
    Form::apply(column, made);
    for (int i = 0; i < to; ++i) between[i][j] = made[i];
  }
  for (int i = 0; i < to; ++i) Form::apply(between[i], y[i]);
}

// Where the tiles of an image lie: each begins two pixels behind the last.
struct Grid {
  int64_t n, height, width, down, across;

  explicit Grid(const Geometry& g)
      : n(g.n), height(g.height), width(g.width), down(up(g.height, 2)), across(up(g.width, 2)) {}
  int64_t tiles() const { return n * down * across; }

  // The pixels of a square that begins `before` pixels above and left of a tile's own; `outside` for those that are
  // none.
  template <int side, typename Number>
  void pixels(int64_t tile, int64_t before, Number* image, int64_t channels, Number* outside,
              Number* (&to)[side][side]) const {
    const int64_t x = tile % across * 2 - before, y = tile / across % down * 2 - before;
    image += tile / across / down * height * width * channels;
    for (int i = 0; i < side; ++i)
      for (int j = 0; j < side; ++j) {
        const bool inside = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width;
        to[i][j] = inside ? image + ((y + i) * width + x + j) * channels : outside;
      }
  }
};

// Tiles [first, first + count) of some channels -> [16, count, channels]; `before` is that of `Grid::pixels`.
template <typename Form, int side>
inline void read_tiles(const Grid& grid, int64_t first, int64_t count, int64_t before, const float* image,
                       int64_t channels, int64_t depth, float* to, int64_t rows) {
  static const std::vector<float> zeros(65536, 0.0f);
  for (int64_t t = 0; t < count; ++t) {
    const float* pixels[side][side];
    grid.pixels<side>(first + t, before, image, channels, zeros.data(), pixels);
    for (int64_t c = 0; c < depth; c += kWide) {
      V x[side][side], y[4][4];
      for (int i = 0; i < side; ++i)
        for (int j = 0; j < side; ++j) x[i][j] = load<kWide>(pixels[i][j] + c);
      transform<Form>(x, y);
      for (int p = 0; p < kPlaces; ++p) store<kWide>(to + (p * rows + t) * depth + c, y[p / 4][p % 4]);
    }
  }
}

// Tiles [16, rows, depth] -> the pixels of the result, finished if so wanted; those outside of it are dropped.
inline void write_tiles(const Grid& grid, int64_t first, int64_t count, const float* from, int64_t rows, int64_t depth,
                        float* image, int64_t channels, int64_t channel, const Finish* finish) {
  float* outside = scratch<7>(depth);
  for (int64_t t = 0; t < count; ++t) {
    float* pixels[2][2];
    grid.pixels<2>(first + t, 0, image, channels, outside, pixels);
    for (int64_t c = 0; c < depth; c += kWide) {
      V x[4][4], y[2][2];
      for (int p = 0; p < kPlaces; ++p) x[p / 4][p % 4] = load<kWide>(from + (p * rows + t) * depth + c);
      transform<OfOutput>(x, y);
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) store<kWide>(pixels[i][j] + c, y[i][j]);
    }
    if (finish)
      for (auto& row : pixels)
        for (float* pixel : row) (*finish)(pixel, depth, 1, channel, depth);
  }
}

// The kernel [3, 3, depth, groups * units] -> [groups, 16, panels, depth, panel]; turned round and with both depths
// exchanged for the gradient of the image.
inline float* pack(xla::ffi::ThreadPool& pool, const Geometry& g, const float* kernel, bool transposed) {
  float* packed = scratch<4>(g.groups * kPlaces * g.depth * g.units);
  const int64_t panels = g.units / kPanel, row = g.groups * (transposed ? g.depth : g.units);
  parallel_for(
      pool, g.groups * panels,
      [&](int64_t item) {
        const int64_t group = item / panels, first = item % panels * kPanel;
        float* to = packed + (group * kPlaces * panels + item % panels) * g.depth * kPanel;
        float* turned = scratch<5>(9 * kWide * kWide);
        for (int64_t u = 0; u < kPanel; u += kWide)
          for (int64_t k = 0; k < g.depth; k += transposed ? kWide : 1) {
            const int64_t many = transposed ? kWide : 1;
            if (transposed)
              for (int tap = 0; tap < 9; ++tap)
                for (int i = 0; i < kWide; ++i) {
                  const float* from = kernel + ((8 - tap) * g.units + first + u + i) * row + group * g.depth + k;
                  for (int m = 0; m < kWide; ++m) turned[(tap * kWide + m) * kWide + i] = from[m];
                }
            for (int64_t m = 0; m < many; ++m) {
              V x[3][3], y[4][4];
              for (int tap = 0; tap < 9; ++tap)
                x[tap / 3][tap % 3] =
                    load<kWide>(transposed ? turned + (tap * kWide + m) * kWide
                                           : kernel + (tap * g.depth + k) * row + group * g.units + first + u);
              transform<OfKernel>(x, y);
              for (int p = 0; p < kPlaces; ++p)
                store<kWide>(to + p * panels * g.depth * kPanel + (k + m) * kPanel + u, y[p / 4][p % 4]);
            }
          }
      },
      kPlaces * g.groups * g.depth * g.units < kFew);
  return packed;
}

// Forwards, finished if so wanted; if `transposed` the gradient of the image, with `depth` that of the cotangent's
// groups.
inline void convolve(xla::ffi::ThreadPool& pool, const Geometry& g, const float* image, const float* kernel,
                     bool transposed, float* result, const Finish* finish = nullptr) {
  const float* packed = pack(pool, g, kernel, transposed);
  const Grid grid(g);
  const int64_t chunks = up(grid.tiles(), kTiles), panels = g.units / kPanel;
  parallel_for(pool, g.groups * chunks, [&](int64_t item) {
    const int64_t group = item / chunks, first = item % chunks * kTiles;
    const int64_t count = std::min(kTiles, grid.tiles() - first), rows = up(count, kWideRows) * kWideRows;
    float* tiles = scratch<1>(kPlaces * kTiles * g.depth);
    float* products = scratch<2>(kPlaces * kTiles * g.units);
    read_tiles<OfImage, 4>(grid, first, count, 1, image + group * g.depth, g.groups * g.depth, g.depth, tiles, rows);
    for (int64_t place = 0; place < kPlaces; ++place)
      for (int64_t panel = 0; panel < panels; ++panel) {
        const float* weights = packed + ((group * kPlaces + place) * panels + panel) * g.depth * kPanel;
        for (int64_t t = 0; t < count; t += kWideRows) {
          Tile<kWide, kWideRows, kPair> tile;
          tile.clear();
          tile.add(tiles + (place * rows + t) * g.depth, g.depth, 1, weights, kPanel, g.depth);
          tile.write(products + (place * rows + t) * g.units + panel * kPanel, g.units);
        }
      }
    write_tiles(grid, first, count, products, rows, g.units, result + group * g.units, g.groups * g.units,
                group * g.units, finish);
  });
}

// The sum of products over tiles [begin, end) -> [16, block, units]: of `block` channels of the image and all of the
// result.
inline void sum_products(const Geometry& g, const Grid& grid, int64_t group, int64_t channel, int64_t block,
                         int64_t begin, int64_t end, const float* image, const float* cotangent, float* sums) {
  constexpr int64_t rows = 8;
  float* tiles = scratch<1>(kPlaces * kTiles * block);
  float* others = scratch<2>(kPlaces * kTiles * g.units);
  std::memset(sums, 0, kPlaces * block * g.units * sizeof(float));
  for (int64_t first = begin; first < end; first += kTiles) {
    const int64_t count = std::min(kTiles, end - first);
    read_tiles<OfImage, 4>(grid, first, count, 1, image + group * g.depth + channel, g.groups * g.depth, block, tiles,
                           count);
    read_tiles<OfCotangent, 2>(grid, first, count, 0, cotangent + group * g.units, g.groups * g.units, g.units, others,
                               count);
    for (int64_t place = 0; place < kPlaces; ++place)
      for (int64_t u = 0; u < g.units; u += kPanel)
        for (int64_t c = 0; c < block; c += rows) {
          Tile<kWide, rows, kPair> tile;
          tile.clear();  // sums of sums lose less than one long sum
          tile.add(tiles + place * count * block + c, 1, block, others + place * count * g.units + u, g.units, count);
          tile.add_to(sums + (place * block + c) * g.units + u, g.units);
        }
  }
}

inline void kernel_gradient(xla::ffi::ThreadPool& pool, const Geometry& g, const float* image, const float* cotangent,
                            float* gradient) {
  const Grid grid(g);
  const int64_t block = kBlock, blocks = g.depth / block, pieces = g.groups * blocks, channels = g.groups * g.units;
  // Where there are few pieces, the sum over the tiles is taken in parts.
  const int64_t parts = std::clamp<int64_t>(up(8, pieces), 1, std::max<int64_t>(grid.tiles() / (4 * kTiles), 1));
  const int64_t each = up(grid.tiles(), parts), size = kPlaces * block * g.units;
  float* sums = scratch<0>(parts * pieces * size);
  parallel_for(pool, parts * pieces, [&](int64_t item) {
    const int64_t piece = item / parts, begin = item % parts * each;
    sum_products(g, grid, piece / blocks, piece % blocks * block, block, begin, std::min(begin + each, grid.tiles()),
                 image, cotangent, sums + item * size);
  });
  parallel_for(pool, pieces, [&](int64_t piece) {
    const int64_t group = piece / blocks, channel = piece % blocks * block;
    for (int64_t c = 0; c < block; ++c)
      for (int64_t u = 0; u < g.units; u += kWide) {
        V x[4][4], y[3][3];
        for (int p = 0; p < kPlaces; ++p) {
          const float* of = sums + piece * parts * size + (p * block + c) * g.units + u;
          x[p / 4][p % 4] = load<kWide>(of);
          for (int64_t part = 1; part < parts; ++part) x[p / 4][p % 4] += load<kWide>(of + part * size);
        }
        transform<OfGradient>(x, y);
        for (int tap = 0; tap < 9; ++tap)
          store<kWide>(gradient + (tap * g.depth + channel + c) * channels + group * g.units + u, y[tap / 3][tap % 3]);
      }
  });
}

}  // namespace nfnets::winograd
