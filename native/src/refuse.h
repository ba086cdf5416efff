// How an operation refuses its arguments; Python sees a ValueError.
#pragma once

#include <sstream>
#include <stdexcept>

namespace adadsr {

// Throws std::invalid_argument with the text that the parts make.
template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw std::invalid_argument(text.str());
}

}  // namespace adadsr
