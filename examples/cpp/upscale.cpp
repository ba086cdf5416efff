// Upscale a PPM with a file of `adadsr export`: upscale FILE.onnx IN.ppm OUT.ppm BUDGET
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <numeric>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>

namespace {

/// The image of a binary PPM of 8 bits without comments, (1, height, width, 3).
ov::Tensor read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    std::size_t width = 0, height = 0, largest = 0;
    file >> magic >> width >> height >> largest;
    if (!file || magic != "P6" || largest != 255 || width == 0 || height == 0 || width > 1 << 16 ||
        height > 1 << 16)
        throw std::runtime_error(path + ": not a binary PPM of 8 bits");
    file.get();
    ov::Tensor image(ov::element::u8, {1, height, width, 3});
    file.read(
        reinterpret_cast<char*>(image.data<std::uint8_t>()),
        static_cast<std::streamsize>(image.get_byte_size()));
    if (!file) throw std::runtime_error(path + ": ends too early");
    return image;
}

void write_ppm(const std::string& path, const ov::Tensor& image) {
    std::ofstream file(path, std::ios::binary);
    file << "P6\n" << image.get_shape()[2] << ' ' << image.get_shape()[1] << "\n255\n";
    file.write(
        reinterpret_cast<const char*>(image.data<const std::uint8_t>()),
        static_cast<std::streamsize>(image.get_byte_size()));
    if (!file) throw std::runtime_error(path + ": cannot write");
}

void upscale(
    const std::string& model, const std::string& source, const std::string& target, float budget) {
    const ov::Tensor image = read_ppm(source);
    ov::Core core;
    // By default OpenVINO computes in bfloat16 where the processor can, with errors of some gray
    // levels.
    const auto precision = ov::hint::inference_precision(ov::element::f32);
    ov::InferRequest request = core.compile_model(model, "CPU", precision).create_infer_request();
    request.set_tensor("image", image);
    *request.get_tensor("budget").data<float>() = budget;
    *request.get_tensor("max_loss").data<float>() = 0;  // spend all of the budget
    request.infer();
    write_ppm(target, request.get_tensor("upscaled"));
    const ov::Tensor depths = request.get_tensor("depth_map");
    const float* first = depths.data<const float>();
    const double sum = std::accumulate(first, first + depths.get_size(), 0.0);
    std::cout << target << ": " << 100 * *request.get_tensor("share").data<const float>()
              << "% of the full cost, mean depth " << sum / static_cast<double>(depths.get_size())
              << " blocks\n";
}

}  // namespace

int main(int count, char** arguments) try {
    const float budget = count == 5 ? std::strtof(arguments[4], nullptr) : 0.0f;
    if (!(budget > 0)) {
        std::cerr << "usage: upscale FILE.onnx IN.ppm OUT.ppm BUDGET, with a budget such as 0.5\n";
        return 2;
    }
    upscale(arguments[1], arguments[2], arguments[3], budget);
    return 0;
} catch (const std::exception& error) {
    std::cerr << "upscale: " << error.what() << '\n';
    return 1;
}
