// SPDX-License-Identifier: Apache-2.0
/// The library's version: the only place it is written. CMake parses this header.
#pragma once

#define SWITCHYARD_VERSION_STRING "0.1.0"
