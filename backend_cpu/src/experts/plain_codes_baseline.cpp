// SPDX-License-Identifier: Apache-2.0
#define SWITCHYARD_TARGET baseline
#define SWITCHYARD_TARGET_HD hd_baseline
#include "plain_codes_body.hpp"
