#define REAL_BITS 64
#include "baseline.h"
