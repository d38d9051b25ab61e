// SPDX-License-Identifier: Apache-2.0
#define SWITCHYARD_TARGET x86_64_v4
#define SWITCHYARD_TARGET_HD hd_x86_64_v4
#include "plain_codes_body.hpp"
