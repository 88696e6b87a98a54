// NVRTC, NVIDIA's compiler as a library, opened at run time where there is one.
#pragma once
#include <string>
#include <vector>

namespace vantage::cuda {

// Whether an NVRTC of CUDA 12 or later was found that the driver understands. The device is open. Throws vantage::Error where VANTAGE_NVRTC in the environment
// names a file that is none.
bool has_nvrtc();
// Throws the same; opens no other one.
void check_named_nvrtc();

// What code is made for the device by the NVRTC found: names of both, for whoever keeps the result.
const std::string& nvrtc_target();

// What the driver loads: code for the device, or PTX with its final 0 where NVRTC does not know a device that new. Throws vantage::Error.
std::vector<char> compile_text(const std::string& text);

}  // namespace vantage::cuda
