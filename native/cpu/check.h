// The checks of arguments are those of every device.
#pragma once
#include "../core/check.h"
