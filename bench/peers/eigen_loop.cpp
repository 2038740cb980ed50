// eigen_loop.cpp: the training loop by hand in C++ on Eigen's matrices, as an engineer in a hurry for
// speed would write it. Command line and protocol are those of mnist.py.
//
// Two threads and more work in one of two ways: --mode split, every thread its own rows and its own
// gradients, which are then summed; or --mode gemm, Eigen's own threads inside each product.
//
//   g++ -O3 -march=native -fopenmp -I/usr/include/eigen3 bench/peers/eigen_loop.cpp -o eigen_loop
#include <Eigen/Dense>
#include <omp.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <vector>

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::Matrix<float, 1, Eigen::Dynamic>;

struct Split {
    Matrix x;
    std::vector<uint8_t> t;
};

static std::vector<uint8_t> read_idx(const std::string &path, size_t header) {
    std::ifstream file(path, std::ios::binary);
    std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(file)),
                               std::istreambuf_iterator<char>());
    if (bytes.size() < header) {
        std::cerr << "eigen_loop: cannot read " << path << "\n";
        std::exit(1);
    }
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<long>(header));
    return bytes;
}

static Split load(const std::string &stem) {
    const auto pixels = read_idx(stem + "-images-idx3-ubyte", 16);
    Split split;
    split.t = read_idx(stem + "-labels-idx1-ubyte", 8);
    split.x.resize(static_cast<long>(split.t.size()), 784);
    for (size_t i = 0; i < pixels.size(); i++)
        split.x.data()[i] = static_cast<float>(pixels[i]) / 255.0f;
    return split;
}

struct Layer {
    Matrix w;
    Row b;
};

// What one thread needs for its rows.
struct Work {
    Matrix x;
    std::vector<Matrix> out, d, dw;
    std::vector<Row> db;
    std::vector<uint8_t> t;
};

class Net {
  public:
    Net(const std::vector<int> &sizes, bool book, int batch, int threads)
        : batch_(batch), workers_(static_cast<size_t>(threads)) {
        std::mt19937 random(1);
        for (size_t i = 0; i + 1 < sizes.size(); i++) {
            std::normal_distribution<float> normal(
                0, book ? 0.01f : std::sqrt(2.0f / static_cast<float>(sizes[i])));
            Layer layer;
            layer.w = Matrix::NullaryExpr(sizes[i], sizes[i + 1], [&] { return normal(random); });
            layer.b = Row::Zero(sizes[i + 1]);
            layers_.push_back(layer);
        }
        for (int w = 0; w < threads; w++) {
            Work &work = workers_[static_cast<size_t>(w)];
            const int rows = batch * (w + 1) / threads - batch * w / threads;
            work.x.resize(rows, sizes[0]);
            work.t.resize(static_cast<size_t>(rows));
            for (const Layer &layer : layers_) {
                work.out.emplace_back(rows, layer.w.cols());
                work.d.emplace_back(rows, layer.w.cols());
                work.dw.emplace_back(layer.w.rows(), layer.w.cols());
                work.db.emplace_back(layer.b.size());
            }
        }
    }

    void step(const Split &data) {
        if (workers_.size() == 1) {
            walk(workers_[0], data);
            apply_directly(workers_[0]);
            return;
        }
#pragma omp parallel num_threads(static_cast<int>(workers_.size()))
        {
            const int self = omp_get_thread_num(), threads = static_cast<int>(workers_.size());
            Work &own = workers_[static_cast<size_t>(self)];
            walk(own, data);
            for (size_t i = 0; i < layers_.size(); i++) {
                const Matrix &h = i ? own.out[i - 1] : own.x;
                own.dw[i].noalias() = h.transpose() * own.d[i];
                own.db[i] = own.d[i].colwise().sum();
            }
#pragma omp barrier
            for (size_t i = 0; i < layers_.size(); i++) {
                const long rows = layers_[i].w.rows();
                const long begin = rows * self / threads, count = rows * (self + 1) / threads - begin;
                for (Work &work : workers_)
                    layers_[i].w.middleRows(begin, count) -= rate() * work.dw[i].middleRows(begin, count);
                if (self == 0)
                    for (Work &work : workers_)
                        layers_[i].b -= rate() * work.db[i];
            }
        }
    }

    double accuracy(const Split &data) const {
        Matrix h = data.x;
        for (size_t i = 0; i < layers_.size(); i++) {
            Matrix y = (h * layers_[i].w).rowwise() + layers_[i].b;
            h = i + 1 < layers_.size() ? Matrix(y.cwiseMax(0.0f)) : y;
        }
        long right = 0;
        for (long r = 0; r < h.rows(); r++) {
            long best;
            h.row(r).maxCoeff(&best);
            right += best == data.t[static_cast<size_t>(r)];
        }
        return static_cast<double>(right) / static_cast<double>(h.rows());
    }

  private:
    float rate() const {
        return 0.1f / static_cast<float>(batch_);
    }

    // Fetches rows; forward, softmax, backward: leaves the gradient of each layer's output in d.
    void walk(Work &work, const Split &data) {
        thread_local std::mt19937 random(static_cast<unsigned>(omp_get_thread_num()) + 7);
        std::uniform_int_distribution<size_t> any(0, data.t.size() - 1);
        for (long r = 0; r < work.x.rows(); r++) {
            const size_t row = any(random);
            std::memcpy(work.x.data() + r * work.x.cols(),
                        data.x.data() + static_cast<long>(row) * work.x.cols(),
                        static_cast<size_t>(work.x.cols()) * sizeof(float));
            work.t[static_cast<size_t>(r)] = data.t[row];
        }
        const size_t last = layers_.size() - 1;
        for (size_t i = 0; i <= last; i++) {
            const Matrix &h = i ? work.out[i - 1] : work.x;
            work.out[i].noalias() = h * layers_[i].w;
            work.out[i].rowwise() += layers_[i].b;
            if (i < last)
                work.out[i] = work.out[i].cwiseMax(0.0f);
        }
        Matrix &d = work.d[last];
        for (long r = 0; r < d.rows(); r++) {
            d.row(r) = (work.out[last].row(r).array() - work.out[last].row(r).maxCoeff()).exp();
            d.row(r) /= d.row(r).sum();
            d(r, work.t[static_cast<size_t>(r)]) -= 1.0f;
        }
        for (size_t i = last; i > 0; i--) {
            work.d[i - 1].noalias() = work.d[i] * layers_[i].w.transpose();
            work.d[i - 1] = (work.out[i - 1].array() > 0.0f).select(work.d[i - 1], 0.0f);
        }
    }

    void apply_directly(Work &work) {
        for (size_t i = 0; i < layers_.size(); i++) {
            const Matrix &h = i ? work.out[i - 1] : work.x;
            work.d[i] *= rate();
            layers_[i].w.noalias() -= h.transpose() * work.d[i];
            layers_[i].b -= work.d[i].colwise().sum();
        }
    }

    int batch_;
    std::vector<Layer> layers_;
    std::vector<Work> workers_;
};

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main(int argc, char **argv) {
    std::string net = "book", data = "data/mnist", mode = "split";
    int batch = 100, threads = 1;
    bool whole = false;
    for (int i = 1; i < argc; i++) {
        const std::string name = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
        if (name == "--whole") {
            whole = true;
            continue;
        }
        i++;
        if (name == "--net")
            net = value;
        else if (name == "--batch")
            batch = std::atoi(value.c_str());
        else if (name == "--threads")
            threads = std::atoi(value.c_str());
        else if (name == "--data")
            data = value;
        else if (name == "--mode")
            mode = value;
    }
    Eigen::setNbThreads(mode == "gemm" || whole ? threads : 1);
    const Split train = load(data + "/train"), test = load(data + "/t10k");
    const bool book = net == "book";
    Net trainer(book ? std::vector<int>{784, 50, 10} : std::vector<int>{784, 1024, 1024, 10}, book,
                batch, mode == "gemm" ? 1 : threads);
    if (whole) {
        for (int i = 0; i < 10000; i++) {
            trainer.step(train);
            if (i % 600 == 0)
                std::cout << trainer.accuracy(train) << " " << trainer.accuracy(test) << std::endl;
        }
        return 0;
    }
    for (int i = 0; i < 20; i++)
        trainer.step(train);
    std::cout << "ready" << std::endl;
    for (double wanted; std::cin >> wanted;) {
        long steps = 0;
        const double start = now();
        double seconds;
        do {
            for (int i = 0; i < 10; i++)
                trainer.step(train);
            steps += 10;
            seconds = now() - start;
        } while (seconds < wanted);
        std::cout << steps * batch << " " << seconds << std::endl;
    }
    return 0;
}
