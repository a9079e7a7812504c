#define REAL_BITS 32
#include "baseline.h"
