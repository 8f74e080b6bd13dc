// Random numbers and Gaussian chains on a GPU, those of the CPU bit for bit. A thread is a sample: it draws its normals and makes
// its points in registers. Points are written through a tile in shared memory, since a sample's points lie side by side: the 4
// bytes a point of float32 that memory has to take bound it. Weights are worked out for one group of samples a block, and added
// in order.
#include "paths/bridge_lanes.hpp"

#include "launch.hpp"

namespace qcore {

namespace device {
namespace {

template <class T>
__global__ void random_kernel(RandomTask t, cuda::Pointer<T> out) {
    for (std::int64_t i = cuda::thread(); i < t.sites * t.chains; i += cuda::threads()) {
        const std::int64_t site = i / t.chains, chain = i % t.chains;
        T v[4];
        numbers<T>(Random<T>::words(t.purpose, t.site + static_cast<std::uint32_t>(site), t.sweep,
                                    t.first_chain + static_cast<std::uint32_t>(chain), t.seed),
                   t.kind, v);
        for (int k = 0; k < 4; ++k)
            if (k < t.draws) out[(site * t.draws + k) * t.chains + chain] = v[k];
    }
}

// The normals of a sample, in turn.
template <class T>
class Normals {
  public:
    QC_DEVICE Normals(const ChainTask& t, std::int64_t sample, std::uint32_t sweep)
        : stream_(t.first + static_cast<std::uint32_t>(sample), t.seed), purpose_(t.purpose), sweep_(sweep) {}

    QC_DEVICE T operator()(std::int64_t n) {
        if (n % each == 0) numbers<T>(stream_.words(purpose_, static_cast<std::uint32_t>(n / each), sweep_), 2, z_);
        T z = z_[0];
        for (int k = 1; k < each; ++k) z = n % each == k ? z_[k] : z;
        return z;
    }

  private:
    static constexpr int each = Random<T>::normals;
    typename Random<T>::Stream stream_;
    std::uint32_t purpose_, sweep_;
    T z_[4];
};

constexpr int warp = 32, warps = 4;

// A warp takes 32 samples of one chain; gridDim.y and what is beyond it in turns: chains.
template <class T>
__global__ void paths_kernel(PathsTask t, cuda::Pointer<const double> coefficients, cuda::Pointer<const double> start,
                             cuda::Pointer<const double> end_points, cuda::Pointer<T> out) {
    cuda::SharedMemory shared;
    const ChainTask& chain = t.chain;
    const int lane = static_cast<int>(threadIdx.x) % warp;
    const int tile_size = warp * (warp + 1);
    const cuda::Pointer<T> tile = shared.array<T>(warps * tile_size) + static_cast<int>(threadIdx.x) / warp * tile_size;
    const std::int64_t points = chain.steps + 1, rows = (chain.samples + warp - 1) / warp;
    for (std::int64_t i = cuda::thread() / warp; i < chain.chains * rows; i += cuda::threads() / warp) {
        const std::int64_t q = i / rows, first = i % rows * warp;
        const std::int64_t samples = chain.samples - first < warp ? chain.samples - first : warp;
        Normals<T> normals(chain, first + lane, static_cast<std::uint32_t>(q));
        T x = first_point<T>(chain, normals(0), start[q]);
        const T end = chain.closed ? x : static_cast<T>(end_points[q]);
        for (std::int64_t begin = 0; begin < points; begin += warp) {
            const std::int64_t width = points - begin < warp ? points - begin : warp;
            for (std::int64_t k = 0; k < width; ++k) {
                const std::int64_t n = begin + k;
                if (n > 0) x = next_point<T>(coefficients + 3 * (n - 1), x, end, normals(n));
                tile[lane * (warp + 1) + k] = x;
            }
            __syncwarp();
            for (std::int64_t s = 0; s < samples; ++s)
                if (lane < width) out[(q * chain.samples + first + s) * points + begin + lane] = tile[s * (warp + 1) + lane];
            __syncwarp();
        }
    }
}

// A block takes one group of samples of one chain.
template <class P>
__global__ void weights_kernel(WeightsTask t, cuda::Pointer<const double> coefficients, cuda::Pointer<const double> start,
                               cuda::Pointer<const double> end_points, cuda::Pointer<double> out) {
    constexpr int size = static_cast<int>(paths::chain_group);
    cuda::SharedMemory shared;
    const cuda::Pointer<double> log_weight = shared.array<double>(size), weight = shared.array<double>(size);
    const ChainTask& chain = t.chain;
    const int me = static_cast<int>(threadIdx.x);
    const LogWeight<P> of(t);
    for (std::int64_t i = blockIdx.x; i < chain.chains * t.groups; i += gridDim.x) {
        const std::int64_t q = i / t.groups, begin = i % t.groups * size;
        const int count = static_cast<int>(chain.samples - begin < size ? chain.samples - begin : size);
        if (me < count) {
            Normals<double> normals(chain, begin + me, 0);
            const double first = first_point<double>(chain, normals(0), start[q]), end = chain.closed ? first : end_points[q];
            double x = first, sum = 0;
            for (std::int64_t n = 0; n < chain.steps; ++n) {
                const double before = x;
                x = next_point<double>(coefficients + 3 * n, x, end, normals(n + 1));
                sum += of.of_step(before, x);
            }
            log_weight[me] = sum + of.of_ends(first, x);
        }
        __syncthreads();
        double largest = -std::numeric_limits<double>::infinity();
        for (int k = 0; k < count; ++k) {
            const double l = log_weight[k];
            largest = l > largest || l != l ? l : largest;
        }
        if (me < count) weight[me] = weight_of(log_weight[me], largest);
        __syncthreads();
        if (me == 0) {
            double sum = 0, squares = 0;
            for (int k = 0; k < count; ++k) {
                const double w = weight[k];
                sum += w;
                squares += w * w;
            }
            out[3 * i] = largest;
            out[3 * i + 1] = sum;
            out[3 * i + 2] = squares;
        }
        __syncthreads();
    }
}

template <class T>
void fill(const RandomTask& t) {
    const cuda::Queue queue;
    cuda::launch(queue, random_kernel<T>, cuda::grid_for(t.sites * t.chains, 256), t, cuda::pointer<T>(t.out));
}

template <class T>
void sample(const PathsTask& t) {
    const cuda::Queue queue;
    const ChainTask& c = t.chain;
    cuda::Grid grid = cuda::grid_for(c.chains * ((c.samples + warp - 1) / warp), warps);
    grid.threads = dim3(warp * warps);
    grid.shared = cuda::SharedMemory::bytes<T>(warps * warp * (warp + 1));
    cuda::launch(queue, paths_kernel<T>, grid, t, cuda::pointer<const double>(c.coefficients),
                 cuda::pointer<const double>(c.start), cuda::pointer<const double>(c.end), cuda::pointer<T>(t.out));
}

template <class P>
void weigh(const WeightsTask& t) {
    const cuda::Queue queue;
    const ChainTask& c = t.chain;
    constexpr int size = static_cast<int>(paths::chain_group);
    cuda::Grid grid = cuda::grid_for(c.chains * t.groups, 1);
    grid.threads = dim3(size);
    grid.shared = 2 * cuda::SharedMemory::bytes<double>(size);
    cuda::launch(queue, weights_kernel<P>, grid, t, cuda::pointer<const double>(c.coefficients),
                 cuda::pointer<const double>(c.start), cuda::pointer<const double>(c.end), cuda::pointer<double>(t.out));
}

}  // namespace
}  // namespace device

void paths::random_numbers(const RandomTask& task, DType dtype) {
    if (dtype == DType::f32) device::fill<float>(task);
    else device::fill<double>(task);
}

void paths::sample_chains(const PathsTask& task, DType dtype) {
    if (dtype == DType::f32) device::sample<float>(task);
    else device::sample<double>(task);
}

void paths::weigh_chains(const WeightsTask& task) {
    if (task.potential.get().table) device::weigh<device::TableLanes<double>>(task);
    else device::weigh<device::PolynomialLanes<double>>(task);
}

}  // namespace qcore
