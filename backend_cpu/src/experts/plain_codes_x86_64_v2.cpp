// SPDX-License-Identifier: Apache-2.0
#define SWITCHYARD_TARGET x86_64_v2
#define SWITCHYARD_TARGET_HD hd_x86_64_v2
#include "plain_codes_body.hpp"
